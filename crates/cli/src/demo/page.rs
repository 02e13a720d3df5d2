//! The story as one self-contained HTML page: no script, nothing fetched.

use jiff::tz::TimeZone;
use lifeboat_model::verdict::Verdict;

use super::chart;
use super::story::Story;
use crate::text;

const TEMPLATE: &str = include_str!("page.html");

/// The page.
pub fn render(story: &Story) -> String {
    let date = story.started.to_zoned(TimeZone::UTC).strftime("%-d %B %Y, %H:%M UTC").to_string();
    let fields: [(&str, String); 16] = [
        ("title", format!("Lifeboat demonstration: {}", story.verdict.word())),
        ("version", escape(env!("CARGO_PKG_VERSION"))),
        ("date", date),
        ("headline", headline(story)),
        ("lead", lead(story)),
        ("figures", figures(story)),
        ("timeline", chart::timeline(story)),
        ("caption", caption(story)),
        ("recovery", chart::recovery(story)),
        ("verdict", story.verdict.word().to_owned()),
        ("rows", rows(story)),
        ("steps", steps(story)),
        ("points", points(story)),
        ("tampering", tampering(story)),
        ("ledger", ledger(story)),
        ("footer", footer(story)),
    ];
    fill(TEMPLATE, &fields)
}

/// Replaces each `{{name}}` once read; what is put in is not looked at again.
fn fill(template: &str, fields: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        if let Some((_, value)) = fields.iter().find(|(field, _)| *field == name) {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

fn headline(story: &Story) -> String {
    if story.verdict != Verdict::Pass {
        return "Not everything held. <em>Read which part did not.</em>".into();
    }
    let clock = &story.clock;
    format!(
        "Destroyed, and open again after <em>{}</em>. Lost: the last <em>{}</em> of orders.",
        spaced(clock.t5 - clock.t0),
        spaced(clock.t0 - clock.complete_up_to)
    )
}

/// A span as running text has it: `1.2 s`, `0.8 s`, `2 min 5 s`.
fn spaced(seconds: f64) -> String {
    if seconds < 59.95 { format!("{seconds:.1}\u{a0}s") } else { text::seconds(seconds) }
}

fn lead(story: &Story) -> String {
    let proof = &story.proof;
    format!(
        "A print shop took {} orders a second while it was backed up twice. Then its database \
         was overwritten and its photographs were deleted. {} orders came back, each of them \
         whole; all {} that were acknowledged before the last backup began are among them.",
        text::count(story.writer.orders_per_second as u64),
        text::count(proof.orders),
        text::count(proof.promised),
    )
}

fn figures(story: &Story) -> String {
    let clock = &story.clock;
    let figure = |number: String, words: String| {
        format!("<div><b>{}</b><span>{}</span></div>\n", escape(&number), escape(&words))
    };
    [
        figure(spaced(clock.t5 - clock.t0), "recovery time, detection to first order".into()),
        figure(
            spaced(clock.t0 - clock.complete_up_to),
            format!("data loss: {}", text::plural(story.proof.lost, "order", "orders")),
        ),
        figure(
            format!("{:.1} ms", story.writer.longest_backup_ms),
            format!(
                "longest order during a backup; {:.1} ms without one",
                story.writer.longest_quiet_ms
            ),
        ),
        figure(
            text::count(story.proof.broken),
            format!("half orders among {} restored", text::count(story.proof.orders)),
        ),
    ]
    .concat()
}

fn caption(story: &Story) -> String {
    escape(&format!(
        "{} orders in all. Shaded: backups, during which the slowest of a hundred orders took \
         {:.1} ms. Red: from detection to the first new order.",
        text::count(story.writer.orders),
        story.writer.p99_backup_ms
    ))
}

fn rows(story: &Story) -> String {
    let pair = |actual: Option<f64>, objective: Option<f64>| {
        let word = |value: Option<f64>, none: &str| {
            value.map_or_else(|| none.to_owned(), |seconds| escape(&text::seconds(seconds)))
        };
        format!(
            "{} <span class=\"of\">/ {}</span>",
            word(actual, "unknown"),
            word(objective, "none")
        )
    };
    story
        .components
        .iter()
        .map(|row| {
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{v}\">{v}</td></tr>\n",
                escape(&row.component),
                escape(&row.lost),
                pair(row.rto_seconds, row.rto_objective_seconds),
                pair(row.rpo_seconds, row.rpo_objective_seconds),
                v = row.verdict.word()
            )
        })
        .collect()
}

fn steps(story: &Story) -> String {
    story
        .steps
        .iter()
        .map(|step| {
            format!(
                "<li><time>{:.1}s</time><b class=\"{}\">{}</b><p>{}</p></li>\n",
                step.from,
                mark(step.verdict),
                escape(step.name),
                escape(&text::capital(&step.what))
            )
        })
        .collect()
}

fn points(story: &Story) -> String {
    story
        .points
        .iter()
        .map(|point| {
            format!(
                "<li><span class=\"{}\">{}. {}</span><small>{}</small></li>\n",
                mark(point.verdict),
                point.number,
                escape(&point.name),
                escape(&point.found)
            )
        })
        .collect()
}

fn tampering(story: &Story) -> String {
    let found = &story.tampering;
    let healed = if found.healed {
        "The byte was put back, and the tier verified again."
    } else {
        "After the byte was put back the tier did not verify."
    };
    format!(
        "<p>Byte {} of <code>{}</code> was flipped. <code>lifeboat verify</code> ended with exit \
         code 9 and said:</p><p><code>{}</code></p><p class=\"quiet\">It named {} that need this \
         object. {healed}</p>",
        text::count(found.offset),
        escape(&found.object),
        escape(&found.said),
        text::plural(found.snapshots, "snapshot", "snapshots"),
    )
}

fn ledger(story: &Story) -> String {
    let sentences: String = story
        .ledger
        .statement
        .iter()
        .map(|sentence| format!("<p class=\"quiet\">{}</p>", escape(&text::capital(sentence))))
        .collect();
    format!(
        "<p>{} entries, signed and chained, checked by <code>lifeboat audit verify</code>: \
         <b class=\"{v}\">{v}</b>.</p>{sentences}",
        text::count(story.ledger.entries),
        v = story.ledger.verdict.word()
    )
}

fn footer(story: &Story) -> String {
    let drill = &story.drill;
    escape(&format!(
        "The whole demonstration took {}. Its drill ran {} checks, {} passed{}. Every number on \
         this page was measured in this run.",
        text::seconds(story.seconds),
        drill.checks,
        drill.passed,
        drill.evidence.as_ref().map_or_else(String::new, |id| format!("; evidence {id}")),
    ))
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "tick",
        Verdict::Fail => "cross",
        Verdict::Inconclusive | Verdict::Skipped => "query",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let fields = [("a", "{{b}}".to_owned()), ("b", "no".to_owned())];
        assert_eq!(fill("<{{a}}|{{b}}|{{c}}>", &fields), "<{{b}}|no|>");
    }

    #[test]
    fn text_becomes_html() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn every_placeholder_of_the_template_is_filled() {
        let story = super::super::story::tests::example();
        let page = render(&story);
        assert!(!page.contains("{{"));
        for outside in ["http://", "https://", "<script", "@import", "url("] {
            let clean = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!clean.contains(outside), "{outside}");
        }
    }
}
