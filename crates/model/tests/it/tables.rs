//! What the accessors of the plan's tables say.

use lifeboat_model::duration::Duration;
use lifeboat_model::plan::{Key, Location, Plan, Review, SecretSource};

use crate::support::plan;

fn with(text: &str) -> Plan {
    plan(&format!("[plan]\nname='p'\n{text}"))
}

#[test]
fn the_key_comes_from_somewhere() {
    assert_eq!(with("").key.vault(), SecretSource::Env(Key::DEFAULT_ENV));
    assert_eq!(with("[key]\nrecipient='age1x'\n").key.vault(), SecretSource::Env(Key::DEFAULT_ENV));
    assert_eq!(with("[key]\nvault_file='k'\n").key.vault(), SecretSource::File("k"));
    assert_eq!(with("[key]\nvault_command='c'\n").key.vault(), SecretSource::Command("c"));
    assert_eq!(with("").key.identity(), None);
    assert_eq!(with("[key]\nidentity_file='i'\n").key.identity(), Some(SecretSource::File("i")));
}

#[test]
fn tiers_have_places() {
    for (url, location) in [
        ("/var/b", Location::Local("/var/b")),
        ("file:///var/b", Location::Local("/var/b")),
        ("file://localhost/var/b", Location::Local("/var/b")),
        ("b", Location::Local("b")),
        ("s3://b/p", Location::Remote { scheme: "s3", rest: "b/p" }),
    ] {
        assert_eq!(with(&format!("[tier.t]\nurl='{url}'\n")).tier["t"].location(), location);
    }
    assert_eq!(with("[tier.t]\nfrom_env=true\n").tier["t"].location(), Location::FromEnvironment);
}

#[test]
fn windows_are_minutes_of_the_day() {
    let window = |text: &str| {
        with(&format!("[drill.d]\ncomponents='*'\nwindow='{text}'\n")).drill["d"].window()
    };
    assert_eq!(window("02:00-06:30"), Some((120, 390)));
    assert_eq!(window("22:00-24:00"), Some((1320, 1440)));
}

#[test]
fn reviews_are_cycles_or_days() {
    let review = |text: &str| *with(&format!("review={text}\n")).header.review.expect("review");
    assert_eq!(review("'quarterly'"), Review::Every(Duration::from_days(92)));
    assert_eq!(review("'90d'"), Review::Every(Duration::from_days(90)));
    assert_eq!(review("2026-01-24"), review("'2026-01-24'"));
    assert!(matches!(review("2026-01-24"), Review::On(day) if day.0.to_string() == "2026-01-24"));
}

#[test]
fn retention_reads_back_in_words_and_falls_back_to_the_tier() {
    let plan = with(
        "[tier.a]\nurl='a'\nkeep='90d'\n[tier.b]\nurl='b'\nkeep='unlimited'\n\
         [schedule.s]\ncomponents='*'\ncron='0 2 * * *'\n\
         keep={a={daily='30d',weekly='6 months',min=3}}\n",
    );
    let shown = |schedule, tier| plan.keep(schedule, tier).map(|keep| keep.to_string());
    assert_eq!(shown(Some("s"), "a").as_deref(), Some("daily 30d, weekly 186d, at least 3"));
    assert_eq!(shown(Some("s"), "b").as_deref(), Some("unlimited"));
    assert_eq!(shown(None, "a").as_deref(), Some("90d"));
    assert_eq!(shown(Some("s"), "c"), None);
    assert!(plan.keep(Some("s"), "b").expect("keep").rules().unlimited);
}

/// Half a fingerprint would be believed half.
#[test]
fn signers_are_whole_fingerprints() {
    let print = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
    assert_eq!(plan(&format!("[plan]\nname='a'\n[key]\nsigners='{print}'\n")).key.signers.len(), 1);
    for wrong in ["ab", &print[..63], &print.replace('0', "g")] {
        let text = format!("[plan]\nname='a'\n[key]\nsigners=['{wrong}']\n");
        let error = lifeboat_model::plan::Plan::parse(&[("lifeboat.toml", &text)]).unwrap_err();
        assert!(format!("{error:?}").contains("is not the fingerprint"), "{error:?}");
    }
}

/// Every table of the plan language with every key that it knows.
#[test]
fn every_table_parses() {
    let plan = plan(include_str!("every-table.toml"));
    assert_eq!(plan.scenario["site-lost"].steps.len(), 7);
    let kinds: Vec<_> = plan.component.values().map(|component| component.kind.key()).collect();
    assert_eq!(kinds, ["sqlite", "postgres", "mysql", "files", "git", "command", "bucket"]);
    let findings = lifeboat_model::lint::lint(&plan, std::path::Path::new("/srv/app"));
    let shown: Vec<_> = findings.iter().map(|f| format!("{} {}", f.code, f.message)).collect();
    assert!(!lifeboat_model::lint::has_errors(&findings), "{shown:#?}");
    let said: Vec<_> = plan.not_carried_out().into_iter().map(|item| item.what).collect();
    insta::assert_snapshot!(said.join("\n"));
}
