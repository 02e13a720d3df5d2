//! How answers are judged: nothing to look at never passes.

use lifeboat_model::plan::{Check, Question};
use lifeboat_model::verdict::Verdict::{self, Fail, Pass};

use crate::support::plan;

fn check(fields: &str) -> Check {
    let text = format!(
        "[plan]\nname='p'\n[component.a]\nsqlite={{path='a.db'}}\nchecks=[{{name='n',{fields}}}]\n"
    );
    (*plan(&text).component["a"].checks[0]).clone()
}

#[test]
fn answers() {
    let cases: &[(&str, Option<Option<&str>>, Verdict)] = &[
        ("query='q',min=1", Some(Some("1")), Pass),
        ("query='q',min=1", Some(Some("0")), Fail),
        ("query='q',min=1", Some(Some("1.5")), Pass),
        ("query='q',min=1", None, Fail),
        ("query='q',min=1", Some(None), Fail),
        ("query='q',min=1", Some(Some("many")), Fail),
        ("query='q',min=-1", Some(Some("NaN")), Fail),
        ("query='q',min=1", Some(Some("inf")), Fail),
        ("query='q',max=3", Some(Some("3")), Pass),
        ("query='q',max=3", Some(Some("4")), Fail),
        ("query='q',min=1,max=3", Some(Some("4")), Fail),
        ("query='q',equals='ok'", Some(Some("ok")), Pass),
        ("query='q',equals='ok'", Some(Some("OK")), Fail),
        ("query='q',equals=7", Some(Some("7")), Pass),
        ("query='q',equals=7", Some(Some("7.0")), Pass),
        ("query='q',equals=7", Some(Some("70")), Fail),
        ("query='q',equals=7", None, Fail),
        ("query='q',equals=0.5", Some(Some("0.5")), Pass),
        ("query='q',equals=true", Some(Some("1")), Pass),
        ("query='q',equals=true", Some(Some("0")), Fail),
        ("query='q',equals=false", Some(Some("maybe")), Fail),
        ("query='q',expect='x'", Some(Some("x")), Pass),
        ("query='q',expect='x',contains='y'", Some(Some("x")), Fail),
        ("query='q',equals=9007199254740993", Some(Some("9007199254740993")), Pass),
    ];
    for (fields, answer, verdict) in cases {
        let result = check(fields).judge(*answer);
        assert_eq!(result.verdict, *verdict, "{fields} {answer:?}");
        assert!(!result.found.is_empty() && !result.expected.is_empty());
    }
}

#[test]
fn what_is_expected_and_found_is_said() {
    let result = check("query='q',min=1,max=3").judge(Some(Some("9")));
    assert_eq!((result.name.as_str(), result.expected.as_str()), ("n", "at least 1, at most 3"));
    assert_eq!(result.found, "9");
    assert_eq!(check("query='q',min=1").judge(None).found, "no row");
    assert_eq!(check("query='q',min=1").judge(Some(None)).found, "NULL");
}

#[test]
fn rows_that_name_files_of_another_component() {
    let photos = check("query='select path from photos',exists_in='media',under='media'");
    assert_eq!(
        photos.question(),
        Some(Question::RowsExistIn {
            query: "select path from photos",
            component: "media",
            under: "media"
        })
    );
    assert_eq!(photos.judge_paths(3, &[]).verdict, Pass);
    assert_eq!(photos.judge_paths(0, &[]).verdict, Fail);
    let missing: Vec<String> = (0..9).map(|n| format!("{n}.jpg")).collect();
    let result = photos.judge_paths(10, &missing);
    assert_eq!(result.verdict, Fail);
    assert_eq!(result.found, "9 of 10 missing: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 4 more");
}

#[test]
fn each_kind_of_question() {
    assert_eq!(check("query='q',min=1").question(), Some(Question::Query("q")));
    assert_eq!(check("file='a/b'").question(), Some(Question::File("a/b")));
    assert_eq!(check("http='http://x'").question(), Some(Question::Http("http://x")));
    assert_eq!(check("command='true'").question(), Some(Question::Command("true")));
}
