//! What is said about wrong plans: one sentence, the place, what mends it.

use insta::assert_snapshot;
use lifeboat_model::plan::Plan;

use crate::support::{errors, render};

/// A plan around the text under test.
fn with(text: &str) -> String {
    format!("[plan]\nname = \"t\"\n{text}")
}

#[test]
fn unknown_keys_name_the_nearest() {
    let text = with(
        "ownr = \"x\"\n[compnent.a]\nfiles = {paths=['a']}\n[class.c]\nrpoo = \"1h\"\n\
         [component.b]\nfiles = { pathz = [\"m\"] }\nfoo = 1\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn wrong_types_say_what_was_found() {
    let text = with(
        "rto = true\nrpo = 15\n[component.a]\nsqlite = 'x.db'\n[component.b]\n\
         sqlite = { path = 3 }\nchecks = 'none'\n[component.c]\nfiles = { paths = [1, 'ok', []] }\n\
         [class]\nx = 3\n[tier]\nlocal = '/t'\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn durations_need_units() {
    let text =
        with("rto = \"15\"\n[class.a]\nrpo='5M'\nrto='soon'\n[class.b]\nrto='-1h'\nrpo=''\n");
    assert_snapshot!(errors(&text));
}

#[test]
fn two_components_with_one_name() {
    let text = with("[component.a]\nfiles = {paths=['a']}\n[component.a]\nfiles = {paths=['b']}\n");
    assert_snapshot!(errors(&text));
}

#[test]
fn two_components_with_one_name_in_two_files() {
    let first = with("[component.a]\nfiles = {paths=['a']}\n");
    let second = "[component.a]\nfiles = {paths=['b']}\n[component.b]\nfiles={paths=['b']}\n";
    let texts = [("lifeboat.toml", first.as_str()), ("more.toml", second)];
    let errors = Plan::parse(&texts).expect_err("twice");
    assert_eq!(errors.0.len(), 1);
    assert_eq!(errors.0[0].to_string(), "component `a` is given twice");
    assert_eq!(errors.0[0].span.source, 1);
    assert_eq!(errors.0[0].related.as_ref().expect("first").0.source, 0);
}

#[test]
fn not_toml() {
    for text in ["[plan\nname=", "this is a letter, not a plan", "a = 'x\nb = 2"] {
        let said = errors(text);
        assert!(said.starts_with("not TOML: "), "{said}");
    }
    assert_snapshot!(errors("[plan]\nname = \"t\"\nrto = 4h\n"));
}

#[test]
fn an_empty_text_is_no_plan() {
    assert_snapshot!(errors(""));
    assert!(Plan::parse(&[]).is_err());
}

#[test]
fn kinds_exclude_each_other() {
    let text = with(
        "[component.a]\nfiles = {paths=['a']}\nsqlite = {path='b.db'}\n[component.b]\nclass='x'\n\
         [component.c]\nfiles = {}\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn names_are_plain() {
    let text = with(
        "[component.\"\"]\nfiles={paths=['a']}\n[component.\"a b\"]\nfiles={paths=['a']}\n\
         [component.\"../x\"]\nfiles={paths=['a']}\n[component.-x]\nfiles={paths=['a']}\n\
         [component.\"ä\"]\nfiles={paths=['a']}\n[component.Ok_1-2]\nfiles={paths=['a']}\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn checks_need_a_question_and_an_answer() {
    let text = with(
        "[component.a]\nsqlite={path='a.db'}\nchecks = [\n {name='a'},\n {name='b', query='select 1'},\n \
         {name='c', query='select 1', file='x', min=1},\n {name='d', query='q', min=3, max=1},\n \
         {name='e', file='../x'},\n {name='f', query='q', equals=1, expect=1},\n \
         {name='g', under='x', query='q', min=1},\n {query='q', min=1},\n]\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn keys_come_from_one_place_and_are_never_literal() {
    let text = with(
        "[key]\nvault = \"hunter2\"\nvault_env = 'A'\nvault_file = 'b'\n\
         [component.p]\npostgres = { dsn = \"postgres://u:p@h/d\" }\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn tiers_say_where_they_are() {
    let text = with(
        "[tier.a]\n[tier.b]\nurl='s4://x/y'\n[tier.c]\nurl='s3://'\n[tier.d]\nurl='~/b'\n\
         [tier.e]\nurl='sftp://u:secret@h/p'\n[tier.f]\nurl='file://'\n[tier.g]\nurl=''\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn schedules_and_drills() {
    let text = with(
        "[schedule.a]\ncomponents=[]\ncron='0 2 * * *'\n[schedule.b]\ncomponents='*'\n\
         cron='0 25 * * *'\n[schedule.c]\ncomponents=['*']\non='chnge'\n[schedule.d]\n\
         components=['*']\non='deploy'\ncron='0 2 * * *'\nkeep={t=7}\n[schedule.e]\n\
         components=['*']\ncron='0 2 * * *'\nkeep={t={dayly='7d'}, u={}, v=[]}\n[drill.a]\n\
         [drill.b]\ncomponents=['*']\nscenario='x'\nwindow='2-6'\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn paths_that_take_the_manifest() {
    let text = with(
        "[component.a]\nfiles={paths=['manifest.json','./x/../manifest.json','/manifest.json','ok/manifest.json']}\n\
         [component.b]\nsqlite={path='data/manifest.json'}\n[component.c]\nsqlite={path='data/..'}\n\
         [component.d]\nfiles={paths=[\"a\\u0000b\", \"~/x\", \"\"]}\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn steps_do_one_thing() {
    let text = with(
        "[scenario.s]\nsteps=[\n {},\n {run='a', check='b'},\n {run='a', in_place=true, to='x'},\n \
         {restore='a', in_place=true, to='/x'},\n {run='a', retry={}},\n {run='x', budget=5},\n]\n",
    );
    assert_snapshot!(errors(&text));
}

#[test]
fn include_is_a_list() {
    let text = "include = 'x.toml'\n[plan]\nname='t'\n";
    assert_snapshot!(errors(text));
    let list = Plan::includes(0, "include = ['a.toml', 'b.toml']\n").expect("list");
    assert_eq!(list.iter().map(|at| at.as_str()).collect::<Vec<_>>(), ["a.toml", "b.toml"]);
    assert!(Plan::includes(0, "[plan]\n").expect("none").is_empty());
    let errors = Plan::includes(0, "include = 4\n").expect_err("number");
    assert_snapshot!(render("include = 4\n", &errors));
}

#[test]
fn a_nearly_endless_plan_is_refused() {
    let text = "#".repeat(5 << 20);
    let errors = Plan::parse(&[("x", &text)]).expect_err("too long");
    assert_eq!(errors.0[0].to_string(), "the plan is longer than 4 MiB");
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let text = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Plan::parse(&[("x", &text)]).is_err());
    let text = format!("a = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000));
    assert!(Plan::parse(&[("x", &text)]).is_err());
    let text = format!("{}x = 1", "a.".repeat(50_000));
    assert!(Plan::parse(&[("x", &text)]).is_err());
}
