//! Each code has a plan that triggers it and one, as near as can be, that does not.

use std::collections::BTreeSet;

use super::*;

const FOLDER: &str = "/srv/app";

fn findings(text: &str) -> Vec<Finding> {
    let plan = match Plan::parse(&[("p", text)]) {
        Ok(plan) => plan,
        Err(errors) => panic!("{text}\n{:?}", errors.0),
    };
    lint(&plan, Path::new(FOLDER))
}

fn codes(text: &str) -> BTreeSet<&'static str> {
    findings(text).into_iter().map(|finding| finding.code).collect()
}

/// A plan without any finding, and what is added to it.
fn with(more: &str) -> String {
    format!(
        "[plan]\nname='p'\nrto='4h'\nrpo='2d'\n\
         [component.media]\nfiles={{paths=['media']}}\n\
         [tier.local]\nurl='/backup'\nkeep='30d'\n\
         [schedule.s]\ncomponents=['*']\ncron='0 2 * * *'\n\
         [drill.d]\ncomponents=['*']\n{more}"
    )
}

/// `code`, what triggers it, and what does not.
const CASES: &[(&str, &str, &str)] = &[
    ("LB001", "[key]\nvault_file='media/in/key'\n", "[key]\nvault_file='key'\n"),
    (
        "LB001",
        "[component.all]\nfiles={paths=['.'],exclude=['*.txt','.lifeboat']}\n[key]\nvault_file='vault.key'\n",
        "[component.all]\nfiles={paths=['.'],exclude=['*.key','.lifeboat']}\n[key]\nvault_file='vault.key'\n",
    ),
    (
        "LB001",
        "[component.all]\nfiles={paths=['conf'],exclude=['*.key','!vault.key']}\n[key]\nvault_file='conf/vault.key'\n",
        "[component.all]\nfiles={paths=['conf'],exclude=['/secret/keys']}\n[key]\nvault_file='conf/secret/keys/vault.key'\n",
    ),
    ("LB002", "[key]\nvault_file='/backup/key'\n", "[key]\nvault_file='/backups/key'\n"),
    (
        "LB003",
        "[tier.t]\nurl='media/backup'\nkeep='1d'\n",
        "[tier.t]\nurl='mediabackup'\nkeep='1d'\n",
    ),
    (
        "LB003",
        "[component.all]\nfiles={paths=['/srv'],exclude=['x']}\n[tier.t]\nurl='/srv/b/c'\nkeep='1d'\n",
        "[component.all]\nfiles={paths=['/srv'],exclude=['.lifeboat','/b/c/']}\n[tier.t]\nurl='/srv/b/c'\nkeep='1d'\n",
    ),
    (
        "LB003",
        "[tier.t]\nurl='file:///srv/app/media'\nkeep='1d'\n",
        "[tier.t]\nurl='s3://srv/app/media'\nkeep='1d'\n",
    ),
    (
        "LB004",
        "[component.x]\nfiles={paths=['/backup/x']}\n",
        "[component.x]\nfiles={paths=['/backupx']}\n",
    ),
    (
        "LB005",
        "[component.x]\nclass='nope'\nfiles={paths=['x']}\n",
        "[class.yes]\n[component.x]\nclass='yes'\nfiles={paths=['x']}\n",
    ),
    (
        "LB005",
        "[schedule.x]\ncomponents=['medai']\ncron='0 2 * * *'\n",
        "[schedule.x]\ncomponents=['media']\ncron='0 2 * * *'\n",
    ),
    (
        "LB005",
        "[schedule.x]\ncomponents=['*']\ncron='0 2 * * *'\nkeep={far='1d'}\n",
        "[schedule.x]\ncomponents=['*']\ncron='0 2 * * *'\nkeep={local='1d'}\n",
    ),
    ("LB005", "[drill.x]\ncomponents=['y']\n", "[drill.x]\ncomponents=['media']\n"),
    (
        "LB005",
        "[drill.x]\nscenario='y'\n",
        "[drill.x]\nscenario='y'\n[scenario.y]\nsteps=[{run='a'}]\n",
    ),
    ("LB005", "[scenario.y]\nsteps=[{restore='a'}]\n", "[scenario.y]\nsteps=[{restore='media'}]\n"),
    ("LB005", "[scenario.y]\nsteps=[{call='a'}]\n", "[scenario.y]\nsteps=[{call='y'}]\n"),
    (
        "LB005",
        "[scenario.y]\nsteps=[{run='a', after='n'}]\n",
        "[scenario.y]\nsteps=[{run='a',name='n'},{run='b', after='n'}]\n",
    ),
    (
        "LB005",
        "[alert.a]\non='backup-failed'\nchannels='mail'\n",
        "[alert.a]\non='backup-failed'\nchannels='mail'\n[channel.mail]\nfile='x'\n",
    ),
    (
        "LB005",
        "[escalation.e]\nlevels=[{after='0s',contacts='x'}]\n",
        "[contact.x]\n[escalation.e]\nlevels=[{after='0s',contacts='x'}]\n",
    ),
    (
        "LB005",
        "[component.q]\nsqlite={path='q'}\nchecks=[{name='n',query='q',exists_in='q'}]\n",
        "[component.q]\nsqlite={path='q'}\nchecks=[{name='n',query='q',exists_in='media'}]\n",
    ),
    ("LB007", "[class.c]\n", "[class.c]\n[component.x]\nclass='c'\nfiles={paths=['x']}\n"),
    (
        "LB009",
        "[component.x]\nrpo='1h'\nfiles={paths=['x']}\n",
        "[component.x]\nrpo='1h'\nfiles={paths=['x'],follow=true}\n",
    ),
    (
        "LB009",
        "[component.x]\nrpo='1d'\nfiles={paths=['x']}\n",
        "[component.x]\nrpo='25h'\nfiles={paths=['x']}\n",
    ),
    (
        "LB009",
        "[component.x]\nrpo='15m'\nsqlite={path='x'}\n",
        "[component.x]\nrpo='15m'\nsqlite={path='x',stream=true}\n",
    ),
    (
        "LB009",
        "[component.x]\nrpo='1h'\nfiles={paths=['x']}\n[schedule.h]\ncomponents=['x']\ncron='0 */2 * * *'\n",
        "[component.x]\nrpo='1h'\nfiles={paths=['x']}\n[schedule.h]\ncomponents=['x']\ncron='*/30 * * * *'\n",
    ),
    ("LB011", "[tier.t]\nurl='/t'\n", "[tier.t]\nurl='/t'\nkeep='unlimited'\n"),
    (
        "LB012",
        "[component.x]\nfiles={paths=['etc/x','/etc/x']}\n",
        "[component.x]\nfiles={paths=['etc/y','/etc/x']}\n",
    ),
    (
        "LB012",
        "[component.x]\nfiles={paths=['x','./x']}\n",
        "[component.x]\nfiles={paths=['x','./y']}\n",
    ),
    (
        "LB013",
        "[component.x]\nfiles={paths=['/srv/app/manifest.json']}\n",
        "[component.x]\nfiles={paths=['/srv/app/x/manifest.json']}\n",
    ),
    (
        "LB015",
        "[component.x]\nsqlite={path='media/x.db'}\n",
        "[component.x]\nsqlite={path='data/x.db'}\n",
    ),
    (
        "LB016",
        "[component.x]\nsqlite={path='x.db'}\n",
        "[component.x]\nsqlite={path='x.db'}\nchecks=[{name='n',query='q',min=1}]\n",
    ),
    (
        "LB017",
        "[drill.x]\ncomponents=['*']\ncron='0 4 1-7 * 6'\n",
        "[drill.x]\ncomponents=['*']\ncron='0 4 * * 6#1'\n",
    ),
    (
        "LB018",
        "[component.x]\nfiles={paths=['.']}\n",
        "[component.x]\nfiles={paths=['.'],exclude=['.lifeboat/']}\n",
    ),
    (
        "LB019",
        "[component.x]\ncommand={dump='d'}\n",
        "[component.x]\ncommand={dump='d',load='l'}\n",
    ),
    (
        "LB020",
        "[component.x]\nsqlite={path='d/x.db'}\n[component.y]\nsqlite={path='./d/x.db'}\n",
        "[component.x]\nsqlite={path='d/x.db'}\n[component.y]\nsqlite={path='./d/y.db'}\n",
    ),
    (
        "LB021",
        "[class.a]\norder=1\n[component.x]\nclass='a'\nfiles={paths=['x']}\n[scenario.s]\nsteps=[{restore='media'},{restore='x'}]\n",
        "[class.a]\norder=1\n[component.x]\nclass='a'\nfiles={paths=['x']}\n[scenario.s]\nsteps=[{restore='x'},{restore='media'}]\n",
    ),
    (
        "LB022",
        "[scenario.s]\nrto='30m'\nsteps=[{run='a',budget='20m'},{run='b',budget='10m'}]\n",
        "[scenario.s]\nrto='31m'\nsteps=[{run='a',budget='20m'},{run='b',budget='10m'}]\n",
    ),
    (
        "LB022",
        "[scenario.s]\nrto='30m'\nestimate='40m'\nsteps=[{run='a'}]\n",
        "[scenario.s]\nrto='30m'\nestimate='20m'\nsteps=[{run='a'}]\n",
    ),
    ("LB023", "[tier.t]\nurl='/backup/t'\nkeep='1d'\n", "[tier.t]\nurl='/backup2'\nkeep='1d'\n"),
    ("LB023", "[tier.t]\nurl='.lifeboat'\nkeep='1d'\n", "[tier.t]\nurl='tier'\nkeep='1d'\n"),
    ("LB024", "[scenario.s]\n", "[scenario.s]\nsteps=[{run='a'}]\n"),
    (
        "LB025",
        "[drill.e]\ncomponents=['*']\nsandbox='media/x'\n",
        "[drill.e]\ncomponents=['*']\nsandbox='mediax'\n",
    ),
    (
        "LB025",
        "[drill.e]\ncomponents=['*']\nsandbox='/backup/x'\n",
        "[drill.e]\ncomponents=['*']\nsandbox='.lifeboat/sandbox'\n",
    ),
    (
        "LB025",
        "[key]\nvault_file='/k/key'\n[drill.e]\ncomponents=['*']\nsandbox='/k'\n",
        "[key]\nvault_file='/k/key'\n[drill.e]\ncomponents=['*']\nsandbox='/kk'\n",
    ),
    (
        "LB025",
        "[drill.e]\ncomponents=['*']\nsandbox='/srv'\n",
        "[drill.e]\ncomponents=['*']\nsandbox='/srv/drills'\n",
    ),
    (
        "LB025",
        "[drill.e]\ncomponents=['*']\nsandbox='.lifeboat/ledger'\n",
        "[drill.e]\ncomponents=['*']\n",
    ),
    (
        "LB026",
        "[component.pg]\npostgres={dsn_env='D',mode='logical',stream=true}\n",
        "[component.pg]\npostgres={dsn_env='D',stream=true}\n",
    ),
    (
        "LB026",
        "[component.pg]\npostgres={dsn_env='D',databases=['a']}\n",
        "[component.pg]\npostgres={dsn_env='D',mode='logical',databases=['a']}\n",
    ),
    (
        "LB027",
        "[component.o]\nsqlite={path='o.db',stream=true,window='12h'}\n",
        "[component.o]\nsqlite={path='o.db',stream=true,window='7d'}\n",
    ),
    (
        "LB027",
        "[component.o]\nsqlite={path='o.db',stream=true,window='40d'}\n",
        "[component.o]\nsqlite={path='o.db',stream=true,window='30d'}\n",
    ),
    (
        "LB028",
        "[component.pg]\npostgres={dsn_env='D',mode='logical'}\n",
        "[component.pg]\npostgres={dsn_env='D'}\n",
    ),
    (
        "LB028",
        "[component.o]\nrpo='1s'\nsqlite={path='o.db',stream=true}\n",
        "[component.o]\nrpo='2s'\nsqlite={path='o.db',stream=true}\n",
    ),
    (
        "LB029",
        "[component.pg]\npostgres={dsn_env='D',fingerprint='locked'}\n",
        "[component.pg]\npostgres={dsn_env='D',stream=true,fingerprint='locked'}\n",
    ),
    (
        "LB029",
        "[component.pg]\npostgres={dsn_env='D',mode='logical',fingerprint='locked'}\n",
        "[component.pg]\npostgres={dsn_env='D',mode='logical'}\n",
    ),
];

#[test]
fn the_base_of_the_cases_is_clean() {
    assert_eq!(findings(&with("")), []);
}

#[test]
fn each_code_is_triggered_and_not_triggered() {
    for (code, bad, good) in CASES {
        assert!(codes(&with(bad)).contains(code), "{code} was not found in {bad}");
        assert!(!codes(&with(good)).contains(code), "{code} was found in {good}");
    }
}

#[test]
fn what_is_missing_is_found() {
    let plain = "[plan]\nname='p'\n[component.x]\nfiles={paths=['x']}\n[tier.t]\nurl='/t'\n";
    let expected = ["LB006", "LB008", "LB010", "LB011"];
    assert_eq!(codes(plain), expected.into());
    for code in expected {
        assert!(!codes(&with("")).contains(code));
    }
    assert_eq!(codes("[plan]\nname='p'\n"), ["LB014"].into());
    assert_eq!(findings("[plan]\nname='p'\n").len(), 2);
}

#[test]
fn every_code_has_a_case_and_an_explanation() {
    let elsewhere = ["LB006", "LB008", "LB010", "LB014"];
    for (index, rule) in RULES.iter().enumerate() {
        assert_eq!(rule.code, format!("LB{:03}", index + 1));
        assert!(!rule.title.is_empty() && rule.explanation.len() > 40, "{}", rule.code);
        let tried = CASES.iter().any(|(code, ..)| *code == rule.code);
        assert!(tried || elsewhere.contains(&rule.code), "{} is never tried", rule.code);
    }
    assert_eq!(explain("lb003").map(|rule| rule.code), Some("LB003"));
    assert!(explain("LB999").is_none());
}

#[test]
fn an_interval_equal_to_the_rpo_is_a_warning_x_04() {
    let severity = |rpo: &str| {
        let text = with(&format!("[component.x]\nrpo='{rpo}'\nfiles={{paths=['x']}}\n"));
        findings(&text).iter().find(|f| f.code == "LB009").map(|finding| finding.severity)
    };
    assert_eq!(severity("23h"), Some(Severity::Error));
    assert_eq!(severity("1d"), Some(Severity::Warning));
    assert_eq!(severity("25h"), None);
}

#[test]
fn places_are_named() {
    let text = with("[key]\nvault_file = 'media/key'\n");
    let found = findings(&text);
    let shown = |span: Span| text[span.range()].to_owned();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, "the vault key file lies inside component `media`");
    assert_eq!(shown(found[0].span), "'media/key'");
    assert_eq!(shown(found[0].related.as_ref().expect("related").0), "'media'");
    assert!(has_errors(&found));
}
