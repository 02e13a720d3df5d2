//! `kit`, `bootstrap` and the drill with the kit alone; the page of the kit.

use lifeboat_recovery::flows::KitPages;
use lifeboat_recovery::report::{
    BootstrapReport, KitAccess, KitDrillReport, KitFacts, KitReport, Trouble,
};

use super::{tier, warnings};
use crate::screen::Screen;
use crate::text;

/// What was made and what is to be done with it.
pub fn kit(report: &KitReport, screen: &Screen) -> String {
    let mut out = String::new();
    let verb = if report.dry_run { "would write" } else { "wrote" };
    for file in &report.files {
        out.push_str(&format!("{verb} {file}\n"));
    }
    for one in &report.facts.tiers {
        out.push_str(&format!("tier {} ({}): {}\n", one.name, one.url, access(one.access)));
    }
    out.push_str(&warnings(screen, &report.warnings));
    if report.dry_run {
        return out + &screen.dim("nothing was written\n");
    }
    out.push_str(&format!("SHA-256 of {}: {}\n", report.facts.file, report.facts.sha256));
    out + "then, by hand:\n  1. print the page, and keep it where the machine is not\n  \
           2. put the sealed file on two things that are not this machine, and remove it here\n  \
           3. keep the passphrase apart from both\n  \
           4. lifeboat drill run --kit FILE\n"
}

fn access(access: KitAccess) -> &'static str {
    match access {
        KitAccess::Folder => "a folder, no credential needed",
        KitAccess::Read => "the kit can read it, and no more",
        KitAccess::Write => "the kit can read it, and write to it too",
        KitAccess::Missing => "the kit has no credential for it",
    }
}

/// What was brought back, what is wrong with it, what comes next.
pub fn bootstrap(report: &BootstrapReport, screen: &Screen) -> String {
    let verb = if report.dry_run { "would be brought back" } else { "brought back" };
    let mut out = format!(
        "{verb} into {}: the plan ({}), {} and {}\n",
        report.folder,
        report.plan_from,
        text::plural(report.entries, "ledger entry", "ledger entries"),
        text::plural(report.evidence, "piece of evidence", "pieces of evidence"),
    );
    for head in &report.heads {
        out.push_str(&format!(
            "ledger of {} in tier {}: {} believed, the last is {} ({})\n",
            head.host,
            head.tier,
            text::plural(head.believed, "entry", "entries"),
            head.seq,
            head.hash.get(..12).unwrap_or(&head.hash),
        ));
    }
    for (name, why) in &report.away {
        let mark = screen.yellow("!");
        out.push_str(&format!("{mark} tier {name} does not answer, nothing was compared: {why}\n"));
    }
    for finding in &report.findings {
        let mark = match finding.trouble {
            Trouble::Note => screen.dim("-"),
            Trouble::Behind => screen.yellow("!"),
            Trouble::Untrusted => screen.red("\u{2717}"),
        };
        out.push_str(&format!("{mark} tier {}: {}\n", finding.tier, finding.what));
    }
    if report.dry_run {
        return out + &screen.dim("nothing was written\n");
    }
    out.push_str("next:\n");
    for step in &report.next {
        out.push_str(&format!("  {step}\n"));
    }
    out + &screen.dim(&format!("from {}\n", tier(&report.tier)))
}

/// The steps and their verdicts.
pub fn kit_drill(report: &KitDrillReport, screen: &Screen) -> String {
    let mut out = String::new();
    for step in &report.steps {
        out.push_str(&format!(
            "{} {} in {}: {}\n",
            screen.verdict(step.verdict),
            step.step,
            text::seconds(step.seconds),
            step.found
        ));
    }
    out.push_str(&warnings(screen, &report.findings));
    out.push_str(&format!(
        "{}: the recovery kit alone, from {}\n",
        screen.verdict(report.verdict),
        tier(&report.tier)
    ));
    out
}

/// The page of a kit: nothing of it is secret.
pub fn kit_pages(facts: &KitFacts) -> KitPages {
    let page = Page::of(facts);
    KitPages { html: page.html(), text: page.text() }
}

/// One page, before it is written in one way or the other.
struct Page {
    title: String,
    parts: Vec<Part>,
}

struct Part {
    heading: &'static str,
    /// Name and value.
    facts: Vec<(String, String)>,
    /// Said in words.
    words: Vec<String>,
    /// To be typed.
    commands: Vec<String>,
}

impl Page {
    fn of(facts: &KitFacts) -> Page {
        Page {
            title: format!("Recovery kit of {}", facts.plan_name),
            parts: vec![
                Page::about(facts),
                Page::fingerprints(facts),
                Page::tiers(facts),
                Page::first_commands(facts),
                Page::stock(facts),
            ],
        }
    }

    fn about(facts: &KitFacts) -> Part {
        let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Part {
            heading: "This kit",
            facts: vec![
                row("made", &text::time(facts.made)),
                row("on host", &facts.made_on),
                row("lifeboat", &facts.lifeboat),
                row("sealed file", &facts.file),
                row("its SHA-256", &facts.sha256),
                row("plan revision", &facts.plan_revision),
            ],
            words: vec![
                "The sealed file and its passphrase open every copy: keep file, passphrase and \
                 this page in three places, none of them the machine. No secret is on this page."
                    .to_owned(),
            ],
            commands: Vec::new(),
        }
    }

    fn fingerprints(facts: &KitFacts) -> Part {
        let mut rows = vec![("vault master key".to_owned(), facts.master.clone())];
        rows.extend(facts.recipient.iter().map(|it| ("recipient".to_owned(), it.clone())));
        for (host, prints) in &facts.signers {
            rows.extend(prints.iter().map(|it| (format!("signing key of {host}"), it.clone())));
        }
        Part { heading: "Fingerprints", facts: rows, words: Vec::new(), commands: Vec::new() }
    }

    fn tiers(facts: &KitFacts) -> Part {
        let row = |one: &lifeboat_recovery::report::KitTierFacts| {
            let vault = one.vault.as_deref().map_or("its vault was not seen", |id| id);
            (
                one.name.clone(),
                format!("{} \u{2014} {} \u{2014} vault {vault}", one.place, access(one.access)),
            )
        };
        let writes: Vec<&str> = facts
            .tiers
            .iter()
            .filter(|one| one.access == KitAccess::Write)
            .map(|one| one.name.as_str())
            .collect();
        let mut words = Vec::new();
        if !writes.is_empty() {
            words.push(format!(
                "The plan names no credential that can only read for {}: the sealed file holds the \
                 one that can also write. Whoever opens it can harm the copies there.",
                text::list(&writes)
            ));
        }
        Part {
            heading: "Tiers",
            facts: facts.tiers.iter().map(row).collect(),
            words,
            commands: Vec::new(),
        }
    }

    fn first_commands(facts: &KitFacts) -> Part {
        let url = facts.tiers.iter().find(|one| one.access != KitAccess::Folder);
        let url = url.or(facts.tiers.first()).map_or("URL", |one| one.place.as_str());
        let print = facts.signers.get(&facts.made_on).and_then(|all| all.first());
        let print = print.map_or("FINGERPRINT", String::as_str);
        Part {
            heading: "The first five commands, on a machine that has only lifeboat",
            facts: Vec::new(),
            words: vec!["Any tier that answers will do; it asks for the passphrase.".to_owned()],
            commands: vec![
                format!("sha256sum {}", facts.file),
                format!("lifeboat bootstrap {url} --kit {} --to recovered", facts.file),
                "cd recovered".to_owned(),
                format!("lifeboat audit verify --host {} --key {print}", facts.made_on),
                "lifeboat restore --all --to ../data".to_owned(),
            ],
        }
    }

    fn stock(facts: &KitFacts) -> Part {
        let place = facts.tiers.first().map_or("TIER".to_owned(), |one| for_restic(&one.place));
        Part {
            heading: "Without lifeboat: restic, age, zstd",
            facts: Vec::new(),
            words: vec![
                "The vault of each tier is a restic repository, its password is vault_key in the \
                 sealed file. Journals, ledgers and plans are sealed to identity."
                    .to_owned(),
            ],
            commands: vec![
                format!("age -d {} > kit.json   # remove it afterwards", facts.file),
                format!("restic -r {place}/vault snapshots"),
                format!("restic -r {place}/vault restore ID --target DIR"),
                "age -d -i identity.txt OBJECT | zstd -d".to_owned(),
                "python3 open.py plan TIER/plan/REVISION/KEY.json.zst.age --identity identity.txt"
                    .to_owned(),
            ],
        }
    }

    fn text(&self) -> String {
        let mut out = format!("{}\n{}\n", self.title, "=".repeat(self.title.chars().count()));
        for part in &self.parts {
            out.push_str(&format!("\n{}\n{}\n", part.heading, "-".repeat(part.heading.len())));
            for (name, value) in &part.facts {
                out.push_str(&format!("{name}: {value}\n"));
            }
            for words in &part.words {
                out.push_str(&format!("{words}\n"));
            }
            for command in &part.commands {
                out.push_str(&format!("    {command}\n"));
            }
        }
        out
    }

    fn html(&self) -> String {
        let mut body = format!("<h1>{}</h1>\n", escaped(&self.title));
        for part in &self.parts {
            body.push_str(&format!("<h2>{}</h2>\n", escaped(part.heading)));
            if !part.facts.is_empty() {
                body.push_str("<table>\n");
                for (name, value) in &part.facts {
                    let (name, value) = (escaped(name), escaped(value));
                    body.push_str(&format!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
                }
                body.push_str("</table>\n");
            }
            for words in &part.words {
                body.push_str(&format!("<p>{}</p>\n", escaped(words)));
            }
            if !part.commands.is_empty() {
                let lines: Vec<String> = part.commands.iter().map(|line| escaped(line)).collect();
                body.push_str(&format!("<pre>{}</pre>\n", lines.join("\n")));
            }
        }
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
            escaped(&self.title)
        )
    }
}

/// One sheet of paper, black on white, nothing from elsewhere.
const STYLE: &str = "body{font:15px/1.45 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;\
color:#111;background:#fff}h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.2rem 0 .3rem;\
border-bottom:1px solid #999}table{border-collapse:collapse}th{text-align:left;font-weight:normal;\
padding:.1rem 1rem .1rem 0;vertical-align:top;white-space:nowrap}td,pre{font-family:monospace;\
overflow-wrap:anywhere}pre{background:#f3f3f3;padding:.5rem;white-space:pre-wrap}\
@page{size:A4;margin:14mm}@media print{body{margin:0;padding:0;max-width:none;font-size:10.5pt}\
pre{background:none;border:1px solid #999}h2{break-after:avoid}}";

/// A place as restic writes it.
fn for_restic(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (bucket, below) = rest.split_once('/').unwrap_or((rest, ""));
    match scheme {
        "s3" => format!("s3:s3.amazonaws.com/{rest}"),
        "az" => format!("azure:{bucket}:/{below}"),
        "gs" => format!("gs:{bucket}:/{below}"),
        _ => place.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
