//! Whether each log that the plan streams is streamed, can be, and has a base.

use lifeboat_recovery::flows::{self, StreamRequest};
use lifeboat_recovery::report::{ComponentStatus, StreamState};

use super::Finding;
use crate::hands::Wired;
use crate::text;

/// Findings about streams. Asks each source what a stream would make there; changes nothing.
pub fn findings(wired: &Wired, components: &[ComponentStatus]) -> Vec<Finding> {
    let mut list = Vec::new();
    for component in components {
        if let Some(stream) = &component.stream {
            list.extend(one(wired, &component.component, stream));
        }
    }
    list
}

fn one(wired: &Wired, name: &str, stream: &StreamState) -> Vec<Finding> {
    let mut list = Vec::new();
    if stream.running {
        list.push(Finding::fine("stream", format!("{name} is streamed")));
    } else {
        list.push(
            Finding::critical("stream", format!("{name} is not streamed by this host"))
                .why("since then its log is in no tier; a slot keeps the server's disk filling")
                .fix(format!("lifeboat stream {name}, as a service; --detach ends it for good")),
        );
        list.extend(source(wired, name));
    }
    if let Some(why) = &stream.base_wanted {
        list.push(
            Finding::critical("stream", format!("{name} has no base for what is streamed"))
                .why(format!("{why}: without a base nothing of it can be restored"))
                .fix(format!("lifeboat backup {name}")),
        );
    }
    if stream.waiting > 0 {
        let objects = text::plural(stream.waiting, "object", "objects");
        list.push(
            Finding::warning("stream", format!("{name}: {objects} wait for a tier"))
                .why("they are on this machine alone"),
        );
    }
    for tier in stream.tiers.iter().filter(|tier| tier.problem.is_some()) {
        let why = tier.problem.clone().unwrap_or_default();
        let what = format!("{name}: tier {} does not take the log", tier.tier);
        list.push(Finding::warning("stream", what).why(why));
    }
    for warning in &stream.warnings {
        list.push(Finding::warning("stream", format!("{name}: {warning}")));
    }
    list
}

/// Whether a stream could begin, by the source's own word.
fn source(wired: &Wired, name: &str) -> Vec<Finding> {
    let components = vec![name.to_owned()];
    let request = StreamRequest { components, ..StreamRequest::default() };
    let planned = match flows::plan_stream(&wired.world, &request) {
        Ok(planned) => planned,
        Err(error) => return vec![Finding::critical("stream", format!("{name}: {error}"))],
    };
    let errors = planned.components.into_iter().filter_map(|component| component.error);
    errors
        .map(|error| {
            let mut finding = Finding::critical("stream", format!("{name}: {}", error.line()));
            finding.fix = error.hint;
            finding
        })
        .collect()
}
