//! What is lost of a server of which there are only dumps.

use lifeboat_model::objective::{Circumstances, resolve};
use lifeboat_model::plan::{Kind, Mode};

use super::Finding;
use crate::hands::Wired;

/// One finding for each such component: the RPO that its schedules leave.
pub fn findings(wired: &Wired) -> Vec<Finding> {
    let plan = &wired.world.plan;
    let dumped = |kind: &Kind| match kind {
        Kind::Postgres(postgres) => postgres.mode() == Mode::Logical,
        _ => false,
    };
    let components = plan.component.iter().filter(|(_, component)| dumped(&component.kind));
    components
        .map(|(name, _)| {
            let schedules = plan.schedule.values().filter(|schedule| schedule.covers(name));
            let crons = schedules.filter_map(|schedule| schedule.cron.as_ref());
            let interval = crons.map(|cron| cron.longest_interval()).min();
            let left = match interval {
                Some(interval) => format!("up to {interval} and the time of a dump are lost"),
                None => "everything since the last dump is lost".to_owned(),
            };
            let what = format!("{name} is captured as dumps: {left}");
            let rpo = resolve(plan, name, Circumstances::default()).rpo;
            let kept = match (interval, rpo) {
                (Some(interval), Some(rpo)) => interval < rpo.limit,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            match kept {
                true => Finding::fine("dumps", what),
                false => Finding::warning("dumps", what)
                    .why("between two dumps nothing can be restored")
                    .fix(
                        "`mode = \"physical\"` with `stream = true`, where the server lets its log be \
                         streamed; else dumps as often as the RPO asks for",
                    ),
            }
        })
        .collect()
}
