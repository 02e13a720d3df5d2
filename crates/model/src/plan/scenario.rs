//! `[scenario.NAME]`: a named disaster and its steps.

use crate::duration::Duration;
use crate::plan::read::{Many, Node, Read, Reader, one_of, table};
use crate::plan::scalars::integer;
use crate::plan::value::Scalar;
use crate::span::{At, Span};

table! {
    /// A named disaster and its steps.
    "a scenario" pub struct Scenario {
        /// Longest time until service is back.
        rto: Option<At<Duration>>,
        /// Most work, in time, that may be lost.
        rpo: Option<At<Duration>>,
        /// Class of components that it concerns.
        class: Option<At<String>>,
        /// Kind of disaster: hardware failure, cyber attack …
        disaster: Option<At<String>>,
        /// What it looks like and what is lost.
        description: Option<At<String>>,
        /// Signs by which it is recognised.
        #[serde(default)]
        symptoms: Many<At<String>>,
        /// Detectors that start it.
        #[serde(default)]
        trigger: Many<At<String>>,
        /// How severe it is.
        severity: Option<At<String>>,
        /// How long it is expected to take.
        estimate: Option<At<Duration>>,
        /// Escalation to follow.
        escalation: Option<At<String>>,
        /// What is done, in order.
        #[serde(default)]
        steps: Vec<At<Step>>,
        /// What must be proven or confirmed before it counts as recovered.
        #[serde(default)]
        checklist: Many<At<String>>,
    }
}

table! {
    /// One step of a scenario.
    "a step" pub struct Step {
        /// Name, to which other steps refer.
        name: Option<At<String>>,
        /// Command that takes it back.
        undo: Option<At<String>>,
        /// Longest time that it may take.
        budget: Option<At<Duration>>,
        /// Expected answer; for an address the status.
        expect: Option<At<Scalar>>,
        /// A text that the answer must contain.
        contains: Option<At<String>>,
        /// Only if this holds.
        when: Option<At<String>>,
        /// Steps that must be done before.
        #[serde(default)]
        after: Many<At<String>>,
        /// How often it is tried again.
        retry: Option<At<Retry>>,
        /// Stopped after so long.
        timeout: Option<At<Duration>>,
        /// `restore`: swap with the live data.
        #[serde(default)]
        in_place: At<bool>,
        /// `restore`: into this folder instead.
        to: Option<At<String>>,
        /// `restore`: to this instant or snapshot.
        at: Option<At<String>>,
        /// `restore`: from this tier.
        tier: Option<At<String>>,
        /// Who does it or answers.
        role: Option<At<String>>,
        /// Environment variables that the command receives.
        #[serde(default)]
        env: Many<At<String>>,
    }
    one action: Action;
    validate Step::validate;
}

impl Step {
    fn validate(&self, _: Span, reader: &mut Reader) {
        if !matches!(self.action, Action::Restore(_)) {
            let key = self.action.key();
            let mut misplaced = |name: &str, span: Span| {
                reader.error(span, format!("`{name}` belongs to `restore`, not to `{key}`"));
            };
            for (name, given) in [("to", &self.to), ("at", &self.at), ("tier", &self.tier)] {
                if let Some(value) = given {
                    misplaced(name, value.span());
                }
            }
            if *self.in_place {
                misplaced("in_place", self.in_place.span());
            }
        }
        if let (true, Some(to)) = (*self.in_place, &self.to) {
            reader.error_with(
                to.span(),
                "a restore goes either in place or to a folder",
                "remove `in_place` or `to`",
            );
        }
    }
}

one_of! {
    /// What a step does.
    pub enum Action {
        /// Runs a command.
        Run(At<String>) = "run",
        /// Restores a component.
        Restore(At<String>) = "restore",
        /// Asks an address or runs a checking command.
        Check(At<String>) = "check",
        /// Waits so long, or until a person or check says so.
        Wait(At<String>) = "wait",
        /// A person does something and confirms it.
        Manual(At<String>) = "manual",
        /// A named person agrees before it goes on.
        Approval(At<String>) = "approval",
        /// Another scenario.
        Call(At<String>) = "call",
    }
}

/// How often a step is tried again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Retry {
    /// So many times, at once.
    Times(u32),
    /// So many times, with a pause.
    Paused(RetryRule),
}

table! {
    /// Tries and the pause between them.
    "a retry" pub struct RetryRule {
        /// How many more times.
        times: u32,
        /// Pause before each.
        pause: Option<Duration>,
    }
}

impl Eq for RetryRule {}

impl Read for Retry {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        if integer(node.as_ref()).is_some() {
            return u32::read(node, reader).map(Retry::Times);
        }
        RetryRule::read(node, reader).map(Retry::Paused)
    }
}
