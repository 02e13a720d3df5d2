//! Rules about streams: what a log can promise, and what it needs for that.

use super::{Context, Found, Rule};
use crate::duration::Duration;
use crate::objective::{Circumstances, resolve};
use crate::plan::{Keep, Kind, Mode};
use crate::span::Span;

/// What a stream may lose: a range of a second, and its way out.
const LOST: Duration = Duration::from_secs(2);

pub(super) const LOGICAL_STREAM: Rule = Rule {
    code: "LB026",
    title: "stream of a dump",
    explanation: "A server's log goes on from a physical copy of its files, never from a dump. \
        `mode = \"physical\"` is such a copy; it needs a connection for replication. Where the \
        server gives none (a managed one, say) there are only dumps, and the RPO is their interval.",
    check: logical_stream,
};

pub(super) const NO_BASE: Rule = Rule {
    code: "LB027",
    title: "stream without bases for its window",
    explanation: "A second is restored from a base, the newest snapshot before it, and the log from \
        there on. Without a schedule no further base is taken and the way becomes longer every day; \
        with bases further apart than the window, or kept for a shorter time than it, its older \
        seconds have none.",
    check: no_base,
};

pub(super) const RPO_LEFT: Rule = Rule {
    code: "LB028",
    title: "objective that this way of capture cannot keep",
    explanation: "A stream ships what was committed about once a second: less than two seconds it \
        cannot promise. A dump is a point of its own: between two of them nothing can be restored, \
        however often the server was asked.",
    check: rpo_left,
};

pub(super) const UNCOMPARED: Rule = Rule {
    code: "LB029",
    title: "fingerprints that nothing is compared with",
    explanation: "`fingerprint = \"locked\"` keeps writers out for a moment and notes what each table \
        held at a place in the log. To compare, a copy has to be brought to that very place, along \
        the log of a stream; a dump has no place in it.",
    check: uncompared,
};

/// The place of a component's `stream`.
fn stream_span(kind: &Kind) -> Option<Span> {
    match kind {
        Kind::Sqlite(sqlite) if *sqlite.stream => Some(sqlite.stream.span()),
        Kind::Postgres(postgres) if *postgres.stream => Some(postgres.stream.span()),
        _ => None,
    }
}

/// True for a server of which only dumps are taken.
pub(super) fn is_logical(kind: &Kind) -> bool {
    match kind {
        Kind::Postgres(postgres) => postgres.mode() == Mode::Logical,
        Kind::Mysql(mysql) => mysql.mode.as_deref() == Some(&Mode::Logical),
        _ => false,
    }
}

fn logical_stream(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        if is_logical(&component.kind)
            && let Some(span) = stream_span(&component.kind)
        {
            let message = format!("component `{name}` streams a log that no dump can go on with");
            found.error(span, message, "`mode = \"physical\"`, or leave `stream` out");
        }
        if let Kind::Postgres(postgres) = &component.kind
            && postgres.mode() == Mode::Physical
            && let Some(first) = postgres.databases.first()
        {
            let message =
                format!("component `{name}`: `databases` says nothing of a physical capture");
            let help =
                "its files are those of all databases: leave it out, or `mode = \"logical\"`";
            found.warning(first.span(), message, help);
        }
    }
}

fn uncompared(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        let Kind::Postgres(postgres) = &component.kind else { continue };
        let Some(fingerprint) = &postgres.fingerprint else { continue };
        let help = match postgres.mode() {
            Mode::Logical => "leave it out: dumps are counted and asked by the plan's checks",
            Mode::Physical if *postgres.stream => continue,
            Mode::Physical => "add `stream = true`, or leave it out",
        };
        let message = format!("component `{name}`: its fingerprints are taken and never compared");
        found.warning(fingerprint.span(), message, help);
    }
}

/// How long a base is kept at the most; nothing for ever.
fn longest(keep: &Keep) -> Option<Duration> {
    let rules = keep.rules();
    if rules.unlimited {
        return None;
    }
    let spans = [rules.all, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
    Some(spans.into_iter().flatten().max().unwrap_or_default())
}

fn no_base(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        let Some(span) = stream_span(&component.kind) else { continue };
        let covering: Vec<_> =
            context.plan.schedule.iter().filter(|(_, schedule)| schedule.covers(name)).collect();
        if covering.is_empty() {
            let message = format!("component `{name}` streams, and no schedule takes bases for it");
            found.error(span, message, "add it to the `components` of a `[schedule.NAME]`");
            continue;
        }
        let Some(window) = component.kind.window() else { continue };
        let crons = covering.iter().filter_map(|(_, schedule)| schedule.cron.as_ref());
        let interval = crons.map(|cron| cron.longest_interval()).min();
        if let Some(interval) = interval.filter(|interval| *interval > window) {
            let message =
                format!("component `{name}`: bases are {interval} apart, its window is {window}");
            found.warning(span, message, "take bases more often, or widen the window");
        }
        for tier in context.plan.tier.keys() {
            let keeps = covering.iter().map(|(schedule, _)| {
                context.plan.keep(Some(schedule), tier).map(|keep| longest(keep))
            });
            // Nothing said and nothing removed are the same here: another rule asks for `keep`.
            let kept: Option<Vec<Duration>> = keeps.map(Option::flatten).collect();
            let Some(kept) = kept.and_then(|kept| kept.into_iter().max()) else { continue };
            if kept < window {
                let message = format!(
                    "component `{name}`: tier `{tier}` keeps bases for {kept}, its window is \
                     {window}: older seconds have no base there"
                );
                found.warning(span, message, "keep bases as long as the window");
            }
        }
    }
}

fn rpo_left(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        let rpo = resolve(context.plan, name, Circumstances::default()).rpo;
        if is_logical(&component.kind) {
            let crons = context
                .plan
                .schedule
                .values()
                .filter(|schedule| schedule.covers(name))
                .filter_map(|schedule| schedule.cron.as_ref());
            let left = match crons.map(|cron| cron.longest_interval()).min() {
                Some(interval) => format!("up to {interval} and the time of a dump are lost"),
                None => "everything since the last dump is lost".to_owned(),
            };
            let message = format!("component `{name}` is captured as dumps: {left}");
            let help = "`mode = \"physical\"` with `stream = true` loses seconds, where the server \
                        lets its log be streamed";
            found.warning(component.span(), message, help);
        } else if let (Some(span), Some(rpo)) = (stream_span(&component.kind), rpo)
            && rpo.limit < LOST
        {
            let message = format!("component `{name}`: a stream loses up to 2 s, its RPO is {rpo}");
            found.error(span, message, "an RPO of at least 2 s");
        }
    }
}
