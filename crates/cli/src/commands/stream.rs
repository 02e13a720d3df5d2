//! `stream`: the log of each component into the tiers, until somebody asks to stop.

use std::io::IsTerminal;

use lifeboat_model::duration::Duration;
use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, StreamRequest};
use lifeboat_recovery::report::DetachReport;

use super::maintain::ask;
use crate::args::Stream;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::render;
use crate::screen::{Reply, log_line};

/// `lifeboat stream [COMPONENT…]`
pub fn stream(args: &Stream, hands: &Hands<'_>) -> Outcome<Reply> {
    let span = args.span.as_deref().map(span).transpose()?;
    let wired = hands.open()?;
    if args.detach {
        return detach(args, &wired, hands);
    }
    let request = StreamRequest {
        components: args.components.clone(),
        once: args.once,
        span,
        base: !args.no_base,
    };
    if args.dry_run {
        let planned = flows::plan_stream(&wired.world, &request)?;
        let words = render::planned_stream(&planned, hands.screen);
        return Reply::new(Exit::Done, "stream-recipe", &planned, words);
    }
    let report = flows::stream(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let words = render::stream(&report, hands.screen);
    Reply::new(report.exit(), "stream", &report, words)
}

fn span(text: &str) -> Outcome<std::time::Duration> {
    let span: Duration = text
        .parse()
        .map_err(|error| Fault::caused(Exit::Usage, "`--for` does not name a span", &error))?;
    Ok(span.std())
}

fn detach(args: &Stream, wired: &Wired, hands: &Hands<'_>) -> Outcome<Reply> {
    if args.dry_run || !args.yes {
        let planned = flows::detach(&wired.world, &args.components, true)?;
        if args.dry_run {
            let words = render::detach(&planned, true, hands.screen);
            return Reply::new(planned.exit(), "stream-detach-recipe", &planned, words);
        }
        confirm(&planned, hands)?;
    }
    let report = flows::detach(&wired.world, &args.components, false)?;
    let words = render::detach(&report, false, hands.screen);
    Reply::new(report.exit(), "stream-detach", &report, words)
}

/// Names what goes, and asks.
fn confirm(planned: &DetachReport, hands: &Hands<'_>) -> Outcome<()> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Fault::refused("ending streams for good wants a confirmation")
            .hint("in a script: --yes; `--dry-run` shows what goes"));
    }
    log_line(render::detach(planned, true, hands.screen).trim_end());
    ask("Remove this from the sources? What is not shipped by then cannot be shipped later.")
}
