//! `BACKUP_RETENTION_DAYS`: how long a tier on this machine keeps what no schedule says otherwise of.
//! It is read for a tier with `from_env = true` whose copies lie in a folder, and for no other.

use std::path::Path;

use lifeboat_model::duration::Duration;
use lifeboat_model::plan::{Keep, KeepRules, Location, Plan, Tier};
use lifeboat_model::span::At;

use super::{Where, environment};
use crate::fault::{Fault, Outcome};

/// The variable.
pub const VARIABLE: &str = "BACKUP_RETENTION_DAYS";

/// Longest number of days: a hundred years.
const MOST: u64 = 36_500;

/// Puts the variable's word into the plan's tiers that ask for it (X-12: the cells of schedules with
/// a `keep` of their own stay as they are).
///
/// # Errors
/// Exit 2: it is no number of days, or the tier's own `keep` says something else.
pub fn apply(plan: &mut Plan, base: &Path, get: &dyn Fn(&str) -> Option<String>) -> Outcome<()> {
    for (name, tier) in plan.tier.iter_mut() {
        if !*tier.from_env || !lies_in_a_folder(name, tier, base, get) {
            continue;
        }
        let Some(text) = environment::value(get, VARIABLE) else { continue };
        let keep = Keep::Rules(KeepRules { all: Some(days(&text)?), ..KeepRules::default() });
        match &tier.keep {
            Some(own) if own.rules() != keep.rules() => {
                return Err(Fault::usage(format!(
                    "tier {name}: its `keep` is {}, and {VARIABLE} is {text}",
                    **own
                ))
                .hint(format!(
                    "one word counts: unset {VARIABLE}, or take `keep` out of [tier.{name}]"
                )));
            }
            Some(_) => {}
            None => {
                let mut own: Tier = (**tier).clone();
                own.keep = Some(At::new(keep, tier.span()));
                *tier = At::new(own, tier.span());
            }
        }
    }
    Ok(())
}

fn lies_in_a_folder(
    name: &str,
    tier: &Tier,
    base: &Path,
    get: &dyn Fn(&str) -> Option<String>,
) -> bool {
    match tier.location() {
        Location::Local(_) => true,
        Location::Remote { .. } => false,
        Location::FromEnvironment => {
            matches!(environment::place(name, base, get), Ok(Where::Folder(_)))
        }
    }
}

fn days(text: &str) -> Outcome<Duration> {
    let number = text.parse::<u64>().ok().filter(|days| (1..=MOST).contains(days));
    number.map(Duration::from_days).ok_or_else(|| {
        Fault::usage(format!("{VARIABLE} is `{text}`, which is no number of days"))
            .hint(format!("a whole number from 1 to {MOST}, as in {VARIABLE}=30"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(tier: &str, variables: &[(&str, &str)]) -> Result<[Option<String>; 2], String> {
        let text = format!(
            "[plan]\nname = \"Shop\"\n[component.media]\nfiles = {{ paths = [\"media\"] }}\n\
             [tier.local]\n{tier}\n[tier.other]\nurl = \"/other\"\n\
             [schedule.full]\ncomponents = [\"*\"]\ncron = \"0 2 * * *\"\n\
             [schedule.incremental]\ncomponents = [\"*\"]\ncron = \"0 * * * *\"\n\
             keep = {{ local = \"7d\" }}\n"
        );
        let mut plan = Plan::parse(&[("lifeboat.toml", &text)]).unwrap();
        let get = |name: &str| {
            let found = variables.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        apply(&mut plan, Path::new("/srv/app"), &get).map_err(|fault| fault.message)?;
        assert_eq!(plan.keep(Some("full"), "other"), None, "of no other tier");
        let cell = |schedule| plan.keep(Some(schedule), "local").map(|keep| keep.to_string());
        Ok([cell("full"), cell("incremental")])
    }

    /// EDO-42, X-12: the local cell of the full backups, and that alone.
    #[test]
    fn the_variable_sets_the_cells_that_no_schedule_sets() {
        let thirty = [("BACKUP_DIR", "backups"), (VARIABLE, "30  # days")];
        let cell = |text: &str| Some(text.to_owned());
        let seven = || cell("7d");
        assert_eq!(cells("from_env = true", &thirty), Ok([cell("30d"), seven()]));
        let url = "url = \"/tier\"";
        assert_eq!(cells(&format!("{url}\nfrom_env = true"), &thirty), Ok([cell("30d"), seven()]));
        // A stray variable changes nothing, and none of a bucket.
        assert_eq!(cells(url, &thirty), Ok([None, seven()]));
        let bucket = [("S3_BACKUP_BUCKET", "shop"), (VARIABLE, "30")];
        assert_eq!(cells("from_env = true", &bucket), Ok([None, seven()]));
    }

    ///
    #[test]
    fn what_is_no_number_or_contradicts_the_plan_is_refused() {
        let with = |tier: &str, days| {
            cells(&format!("from_env = true\n{tier}"), &[("BACKUP_DIR", "b"), (VARIABLE, days)])
        };
        for bad in ["thirty", "0", "-1", "30d", "1.5", "99999999999999999999"] {
            assert!(with("", bad).unwrap_err().contains("is no number of days"), "{bad}");
        }
        assert!(with("keep = \"90d\"", "30").unwrap_err().contains("its `keep` is 90d"));
        assert!(with("keep = \"30d\"", "30").is_ok());
        assert!(with("", "").is_ok());
    }
}
