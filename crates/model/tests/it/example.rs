//! The example of the documentation parses, and means what it says.

use std::path::Path;

use lifeboat_model::duration::Duration;
use lifeboat_model::plan::{Action, Kind, Location, SecretSource};

use crate::support::{EXAMPLE, plan};

#[test]
fn parses_as_written() {
    let plan = plan(EXAMPLE);
    assert_eq!(plan.header.name.as_str(), "Example");
    assert_eq!(plan.key.vault(), SecretSource::Env("LIFEBOAT_VAULT_KEY"));
    let Kind::Sqlite(orders) = &plan.component["orders"].kind else { panic!("sqlite") };
    assert!(*orders.stream);
    assert_eq!(orders.max_block(), Duration::from_secs(5));
    let Kind::Files(media) = &plan.component["media"].kind else { panic!("files") };
    assert_eq!(media.paths[0].as_str(), "media");
    assert_eq!(plan.tier["local"].location(), Location::Local("/var/backups/example"));
    assert_eq!(
        plan.tier["offsite"].location(),
        Location::Remote { scheme: "s3", rest: "example-backups/dr" }
    );
    let offsite = plan.keep(Some("nightly"), "offsite").expect("keep");
    assert_eq!(offsite.to_string(), "daily 30d, weekly 26w");
    let steps = &plan.scenario["database-corruption"].steps;
    assert!(matches!(&steps[1].action, Action::Restore(what) if what.as_str() == "orders"));
    assert!(*steps[1].in_place);
}

#[test]
fn spans_point_at_names() {
    let plan = plan(EXAMPLE);
    assert_eq!(&EXAMPLE[plan.component["media"].span().range()], "media");
    assert_eq!(&EXAMPLE[plan.header.rto.as_ref().expect("rto").span().range()], "\"4h\"");
}

#[test]
fn recovery_order_is_class_then_name() {
    let plan = plan(EXAMPLE);
    let names: Vec<_> = plan.in_recovery_order().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["accounts", "orders", "media"]);
}

#[test]
fn says_what_is_not_carried_out() {
    let list: Vec<_> = plan(EXAMPLE)
        .not_carried_out()
        .into_iter()
        .map(|item| format!("{} ({})", item.what, item.instead))
        .collect();
    insta::assert_snapshot!(list.join("\n"));
}

#[test]
fn canonical_form_ignores_notation_and_order() {
    let first = plan("[plan]\nname = 'a'\nrto = '90m'\n[class.x]\n[class.y]\nrpo='1d'\n");
    let second = plan("class.y.rpo = '24h'\nclass.x = {}\n[plan]\nrto='1h 30m'\nname = \"a\"\n");
    assert_eq!(first.canonical(), second.canonical());
    assert_eq!(first.revision(), second.revision());
    assert_eq!(first.revision().len(), 64);
    let other = plan("[plan]\nname = 'a'\nrto = '91m'\n[class.x]\n[class.y]\nrpo='1d'\n");
    assert_ne!(first.revision(), other.revision());
}

#[test]
fn paths_resolve_against_base() {
    let at_home = plan("[plan]\nname='a'\n");
    let folder = Path::new("/srv/app");
    assert_eq!(at_home.path(folder, "data/../media"), Path::new("/srv/app/media"));
    assert_eq!(at_home.state(folder), Path::new("/srv/app/.lifeboat"));
    let away = plan("[plan]\nname='a'\nbase='../other'\nstate='/var/lib/x'\n");
    assert_eq!(away.path(folder, "media"), Path::new("/srv/other/media"));
    assert_eq!(away.path(folder, "/etc"), Path::new("/etc"));
    assert_eq!(away.state(folder), Path::new("/var/lib/x"));
}

#[test]
fn lints_without_errors() {
    let plan = plan(EXAMPLE);
    let findings = lifeboat_model::lint::lint(&plan, Path::new("/srv/example"));
    let shown: Vec<_> = findings
        .iter()
        .map(|f| {
            let place = crate::support::place(EXAMPLE, f.span);
            format!("{} {:?} {}\n  {place}\n  {}", f.code, f.severity, f.message, f.suggestion)
        })
        .collect();
    assert!(!lifeboat_model::lint::has_errors(&findings), "{shown:#?}");
    insta::assert_snapshot!(shown.join("\n"));
}
