//! No text makes the parser panic, and every place that it names lies in the text.

use lifeboat_model::plan::{Plan, PlanErrors};
use proptest::prelude::*;

use crate::support::EXAMPLE;

fn sound(text: &str) -> Result<Plan, PlanErrors> {
    let result = Plan::parse(&[("x", text)]);
    if let Err(errors) = &result {
        assert!(!errors.0.is_empty());
        for error in &errors.0 {
            assert!(error.span.end <= text.len(), "{error:?} in {text:?}");
            assert!(text.is_char_boundary(error.span.start), "{error:?} in {text:?}");
            assert!(text.is_char_boundary(error.span.end), "{error:?} in {text:?}");
        }
    }
    result
}

proptest! {
    #[test]
    fn random_texts(text in "\\PC{0,200}") {
        let _ = sound(&text);
    }

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = sound(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_toml(lines in proptest::collection::vec(
        "(\\[[a-z.]{0,12}\\]|[a-z_]{1,8} ?= ?(\"[a-z0-9/:]{0,9}\"|[0-9]{1,22}|\\[.{0,5}\\]|true))",
        0..30,
    )) {
        let _ = sound(&lines.join("\n"));
    }

    #[test]
    fn mutated_example(cuts in proptest::collection::vec((0usize..2000, 0usize..12, "\\PC{0,6}"), 1..5)) {
        let mut text = EXAMPLE.to_owned();
        for (at, len, put) in cuts {
            let mut start = at.min(text.len());
            while !text.is_char_boundary(start) { start -= 1; }
            let mut end = (start + len).min(text.len());
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, &put);
        }
        if let Ok(plan) = sound(&text) {
            prop_assert_eq!(plan.revision().len(), 64);
            let _ = plan.not_carried_out();
            let _ = plan.in_recovery_order();
        }
    }
}
