//! What is decided before anything is done.

use std::path::Path;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const PLAN: &str = "[plan]\nname='p'\n[class.first]\norder=1\n\
    [component.z]\nclass='first'\nsqlite={path='data/z.db', newest='t.at'}\nstop='halt'\n\
    start='go'\nprobe='ask'\nchecks=[{name='n', query='select 1', equals=1}]\n\
    [component.media]\nfiles={paths=['media','./media/in','/etc/app'], exclude=['*.tmp']}\n\
    [component.my]\nmysql={dsn_env='X'}\n\
    [tier.far]\nurl='s3://b/p'\n[tier.near]\nurl='vault'\n\
    [schedule.s]\ncomponents=['media']\ncron='0 2 * * *'\n";

fn plan() -> Plan {
    Plan::parse(&[("p", PLAN)]).expect("plan")
}

fn request(components: &[&str], schedule: Option<&str>, tier: Option<&str>) -> BackupRequest {
    BackupRequest {
        run: "r1".into(),
        components: components.iter().map(ToString::to_string).collect(),
        schedule: schedule.map(Into::into),
        tier: tier.map(Into::into),
    }
}

fn backup(request: &BackupRequest) -> Result<BackupRecipe, RecipeError> {
    backup_recipe(&plan(), Path::new("/srv/app"), request)
}

#[test]
fn a_backup_compresses_as_the_plan_says() {
    use crate::plan::Compression;
    assert_eq!(
        backup(&request(&[], None, None)).expect("recipe").compression,
        Compression::Default
    );
    for (word, wanted) in [
        ("fast", Compression::Fast),
        ("default", Compression::Default),
        ("best", Compression::Best),
    ] {
        let text = PLAN.replace("[class", &format!("compression='{word}'\n[class"));
        let plan = Plan::parse(&[("p", &text)]).expect("plan");
        let recipe = backup_recipe(&plan, Path::new("/srv/app"), &request(&[], None, None));
        assert_eq!(recipe.expect("recipe").compression, wanted);
    }
    let unknown = PLAN.replace("[class", "compression='bestt'\n[class");
    let errors = format!("{:?}", Plan::parse(&[("p", &unknown)]).expect_err("no such degree"));
    assert!(errors.contains("`bestt` is no degree of compression"), "{errors}");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("in range")
}

fn candidate(seq: u64, time: i64) -> Candidate {
    Candidate {
        snapshot: format!("{seq:02x}").repeat(32),
        time: at(time),
        read_until: Some(at(time)),
        lost: None,
        seq: Some(seq),
        elsewhere: None,
        verified_level: Some(4),
        verification_failed: false,
        partial: false,
        hold: None,
    }
}

fn newest(candidates: &[Candidate]) -> Choice {
    choose_restore_point(candidates, &Wanted::Newest, false).expect("a choice")
}

#[test]
fn a_backup_is_shown_before_it_runs() {
    insta::assert_snapshot!(backup(&request(&[], None, None)).expect("recipe"));
}

#[test]
fn tags_name_component_run_and_schedule() {
    let recipe = backup(&request(&[], Some("s"), None)).expect("recipe");
    assert_eq!(recipe.items.len(), 1);
    assert_eq!(recipe.items[0].tags, ["component=media", "run=r1", "schedule=s"]);
}

#[test]
fn unknown_names_have_neighbours() {
    let error = backup(&request(&["medai"], None, None)).expect_err("unknown");
    assert_eq!(error.to_string(), "the plan has no component `medai`");
    assert_eq!(error.hint().as_deref(), Some("did you mean `media`?"));
    assert!(matches!(
        backup(&request(&[], Some("x"), None)),
        Err(RecipeError::UnknownSchedule { .. })
    ));
    assert!(matches!(
        backup(&request(&[], None, Some("neer"))),
        Err(RecipeError::UnknownTier { nearest: Some(near), .. }) if near == "near"
    ));
    assert!(matches!(
        backup(&request(&[], None, Some("far"))),
        Err(RecipeError::TierNotCarriedOut { .. })
    ));
    assert_eq!(backup(&request(&["my"], None, None)), Err(RecipeError::NothingToDo));
}

#[test]
fn nothing_lands_on_the_manifest_or_on_another_path() {
    let text = "[plan]\nname='p'\n[tier.t]\nurl='t'\n[component.a]\nfiles={paths=['/srv/app/manifest.json']}\n";
    let plan = Plan::parse(&[("p", text)]).expect("plan");
    let error = backup_recipe(&plan, Path::new("/srv/app"), &request(&[], None, None));
    assert!(matches!(error, Err(RecipeError::Tree { .. })));
    let text =
        "[plan]\nname='p'\n[tier.t]\nurl='t'\n[component.a]\nfiles={paths=['etc/x','/etc/x']}\n";
    let plan = Plan::parse(&[("p", text)]).expect("plan");
    let error = backup_recipe(&plan, Path::new("/srv/app"), &request(&[], None, None));
    assert!(matches!(error, Err(RecipeError::Tree { .. })));
}

#[test]
fn the_newest_by_the_ledger_x_28() {
    let choice = newest(&[candidate(2, 20), candidate(3, 30), candidate(1, 10)]);
    assert_eq!(choice.chosen.seq, Some(3));
    assert_eq!(choice.why, "newest snapshot, verified at V4");
    assert!(choice.warnings.is_empty());
}

#[test]
fn a_clock_set_back_is_said_aloud() {
    let choice = newest(&[candidate(1, 1000), candidate(2, 10)]);
    assert_eq!(choice.chosen.seq, Some(2));
    assert_eq!(choice.warnings.len(), 1);
    assert!(choice.warnings[0].contains("clock was set back"), "{}", choice.warnings[0]);
    let wanted = Wanted::At(at(15));
    let sets = [candidate(1, 12), candidate(2, 20), candidate(3, 10)];
    let choice = choose_restore_point(&sets, &wanted, false).expect("a choice");
    assert_eq!(choice.chosen.seq, Some(3));
    assert_eq!(choice.warnings.len(), 1);
}

#[test]
fn foreign_and_failed_ones_are_passed_over() {
    let foreign = Candidate { seq: None, ..candidate(9, 90) };
    let failed = Candidate { verification_failed: true, ..candidate(3, 30) };
    let choice = newest(&[foreign.clone(), failed.clone(), candidate(2, 20)]);
    assert_eq!(choice.chosen.seq, Some(2));
    let why: Vec<_> = choice.skipped.iter().map(|skipped| skipped.why.as_str()).collect();
    assert_eq!(why, ["its verification failed"]);
    let error = choose_restore_point(&[foreign.clone(), failed], &Wanted::Newest, false);
    assert!(matches!(error, Err(PointError::NoneFits(skipped)) if skipped.len() == 2));
    let named = Wanted::Snapshot(foreign.snapshot[..6].to_owned());
    let choice = choose_restore_point(&[foreign, candidate(2, 20)], &named, false).expect("named");
    assert!(choice.warnings[0].contains("foreign"));
}

#[test]
fn at_an_instant_and_verified_only_edo_17() {
    let fresh = Candidate { verified_level: None, ..candidate(3, 30) };
    let all = [candidate(1, 10), candidate(2, 20), fresh];
    let pick = |wanted, verified| {
        choose_restore_point(&all, &wanted, verified).map(|choice| choice.chosen.seq)
    };
    assert_eq!(pick(Wanted::Newest, false), Ok(Some(3)));
    assert_eq!(pick(Wanted::Newest, true), Ok(Some(2)));
    assert_eq!(pick(Wanted::At(at(20)), false), Ok(Some(2)));
    assert_eq!(pick(Wanted::At(at(19)), false), Ok(Some(1)));
    assert!(matches!(pick(Wanted::At(at(9)), false), Err(PointError::NoneFits(_))));
    assert_eq!(choose_restore_point(&[], &Wanted::Newest, false), Err(PointError::None));
}

/// What the copy may hold counts, not when its capture began.
#[test]
fn an_instant_never_gets_data_that_is_newer() {
    let long = Candidate { read_until: Some(at(25)), ..candidate(2, 20) };
    let all = [candidate(1, 10), long];
    let pick = |second| choose_restore_point(&all, &Wanted::At(at(second)), false);
    assert_eq!(pick(25).expect("a choice").chosen.seq, Some(2));
    let choice = pick(22).expect("a choice");
    assert_eq!(choice.chosen.seq, Some(1));
    assert!(choice.skipped[0].why.starts_with("it holds data up to"), "{:?}", choice.skipped);
    let unknown = [Candidate { read_until: None, ..candidate(3, 1) }];
    assert!(choose_restore_point(&unknown, &Wanted::At(at(99)), false).is_err());
}

#[test]
fn a_lost_one_is_named_and_never_passed_over_silently() {
    let lost = Candidate { lost: Some("it is missing".into()), ..candidate(2, 20) };
    let choice = newest(&[candidate(1, 10), lost.clone()]);
    assert_eq!(choice.chosen.seq, Some(1));
    assert_eq!(choice.skipped[0].why, "it is missing");
    assert!(choice.warnings[0].contains("02020202") && choice.warnings[0].contains("is missing"));
    let named = Wanted::Snapshot("0202".into());
    let error = choose_restore_point(&[lost], &named, false).expect_err("lost");
    assert_eq!(error.to_string(), "snapshot 02020202 cannot be read: it is missing");
}

#[test]
fn ids_may_be_cut_short_but_not_too_short() {
    let all = [candidate(0x11, 1), candidate(0x12, 2)];
    let pick = |prefix: &str| {
        choose_restore_point(&all, &Wanted::Snapshot(prefix.into()), false).map(|c| c.chosen.seq)
    };
    assert_eq!(pick("12"), Ok(Some(0x12)));
    assert_eq!(pick("1112"), Err(PointError::Unknown("1112".into())));
    assert!(matches!(pick("1"), Err(PointError::Ambiguous { ids, .. }) if ids.len() == 2));
    assert!(matches!(pick(""), Err(PointError::Unknown(_))));
}

#[test]
fn a_partial_one_is_taken_with_a_warning() {
    let partial = Candidate { partial: true, ..candidate(2, 20) };
    let choice = newest(&[candidate(1, 10), partial]);
    assert_eq!(choice.chosen.seq, Some(2));
    assert_eq!(choice.warnings.len(), 2);
    assert!(choice.warnings[1].contains("newest whole one is 01010101"));
}

fn restore() -> RestoreRecipe {
    let tier = choose_tier(&plan(), Path::new("/srv/app"), None).expect("tier");
    let ask = |component: &str, candidates: &[Candidate]| RestoreRequest {
        log: None,
        component: component.into(),
        choice: newest(candidates),
        subpath: None,
    };
    let failed = Candidate { verification_failed: true, ..candidate(3, 30) };
    let requests = vec![ask("media", &[candidate(1, 10)]), ask("z", &[candidate(2, 75), failed])];
    restore_recipe(&plan(), tier, requests).expect("recipe")
}

#[test]
fn a_restore_is_shown_before_it_runs() {
    insta::assert_snapshot!(restore().render(&Binding::InPlace));
    insta::assert_snapshot!(restore().render(&Binding::Sandbox("/tmp/drill".into())));
}

#[test]
fn nothing_live_is_touched_before_the_copy_is_verified_x_18() {
    let steps = restore().items[0].steps(&Binding::InPlace);
    let place = |step: &RestoreStep| steps.iter().position(|s| s == step).expect("step");
    let swap = place(&RestoreStep::Swap);
    assert_eq!(place(&RestoreStep::StopWriters(Some("halt".into()))), 0);
    assert_eq!(steps[1], RestoreStep::ProveStopped);
    assert!(place(&RestoreStep::Verify) < swap);
    assert_eq!(steps[swap - 1], RestoreStep::ProveStopped);
    let beside = restore().items[0].steps(&Binding::Target("/x".into()));
    assert!(!beside.contains(&RestoreStep::Swap));
}

#[test]
fn a_drill_has_the_same_recipe() {
    assert_eq!(restore().sha256(), restore().sha256());
    assert_eq!(restore().sha256().len(), 64);
    assert_eq!(restore().skew_ms, 65_000);
}

proptest! {
    #[test]
    fn the_choice_is_sound(
        list in prop::collection::vec((1u64..20, 0i64..50, any::<bool>(), any::<bool>(), any::<bool>()), 0..12),
        instant in prop::option::of(0i64..50),
        verified_only in any::<bool>(),
    ) {
        let mut candidates: Vec<Candidate> = list.iter().map(|(seq, time, foreign, failed, verified)| {
            Candidate {
                seq: (!foreign).then_some(*seq),
                verification_failed: *failed,
                verified_level: verified.then_some(3),
                ..candidate(*seq, *time)
            }
        }).collect();
        candidates.sort_by_key(|c| c.seq);
        candidates.dedup_by_key(|c| c.seq);
        let wanted = instant.map_or(Wanted::Newest, |second| Wanted::At(at(second)));
        let choice = choose_restore_point(&candidates, &wanted, verified_only);
        let fits = |c: &&Candidate| !c.foreign() && !c.verification_failed
            && (!verified_only || c.verified_level.is_some())
            && instant.is_none_or(|second| c.read_until <= Some(at(second)));
        let best = candidates.iter().filter(fits).max_by_key(|c| c.seq);
        prop_assert_eq!(choice.as_ref().ok().map(|c| &c.chosen), best);
        candidates.reverse();
        prop_assert_eq!(choose_restore_point(&candidates, &wanted, verified_only), choice);
    }
}
