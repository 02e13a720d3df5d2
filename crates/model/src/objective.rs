//! Objectives and the rule that each came from: the nearest word wins, and it is shown.
//!
//! Drill over scenario over component over class over plan (requirements "Plan", X-05, X-06).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::plan::Plan;
use crate::span::At;

/// Who set an objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// A drill sets its own.
    Drill(String),
    /// The scenario.
    Scenario(String),
    /// The component.
    Component(String),
    /// The component's class.
    Class(String),
    /// The plan as a whole.
    Plan,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rule::Drill(name) => write!(f, "drill `{name}`"),
            Rule::Scenario(name) => write!(f, "scenario `{name}`"),
            Rule::Component(name) => write!(f, "component `{name}`"),
            Rule::Class(name) => write!(f, "class `{name}`"),
            Rule::Plan => f.write_str("the plan"),
        }
    }
}

/// A resolved objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// The limit: met if the actual value is not above it.
    pub limit: Duration,
    /// Who set it.
    pub rule: Rule,
}

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.limit, self.rule)
    }
}

/// RTO and RPO of a component, where anybody set them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objectives {
    /// Longest time until it is back.
    pub rto: Option<Objective>,
    /// Most work, in time, that may be lost.
    pub rpo: Option<Objective>,
}

/// Under which circumstances objectives are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// A drill is running.
    pub drill: Option<&'a str>,
    /// A scenario is running.
    pub scenario: Option<&'a str>,
}

/// Resolves the objectives of a component.
pub fn resolve(plan: &Plan, component: &str, now: Circumstances<'_>) -> Objectives {
    type Limit = Option<At<Duration>>;
    let mut layers: Vec<(Rule, &Limit, &Limit)> = Vec::new();
    if let Some((name, drill)) = now.drill.and_then(|name| plan.drill.get_key_value(name)) {
        layers.push((Rule::Drill(name.clone()), &drill.rto, &drill.rpo));
    }
    if let Some((name, scenario)) = now.scenario.and_then(|name| plan.scenario.get_key_value(name))
    {
        layers.push((Rule::Scenario(name.clone()), &scenario.rto, &scenario.rpo));
    }
    if let Some((name, component)) = plan.component.get_key_value(component) {
        layers.push((Rule::Component(name.clone()), &component.rto, &component.rpo));
        if let Some((name, class)) = plan.class_of(component) {
            layers.push((Rule::Class(name.to_owned()), &class.rto, &class.rpo));
        }
    }
    layers.push((Rule::Plan, &plan.header.rto, &plan.header.rpo));
    let first = |pick: fn(&(Rule, &'_ Limit, &'_ Limit)) -> Option<Duration>| {
        layers
            .iter()
            .find_map(|layer| Some(Objective { limit: pick(layer)?, rule: layer.0.clone() }))
    };
    Objectives {
        rto: first(|layer| layer.1.as_ref().map(|limit| **limit)),
        rpo: first(|layer| layer.2.as_ref().map(|limit| **limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let text = "[plan]\nname='p'\nrto='4h'\nrpo='1d'\n[class.c]\nrto='1h'\nrpo='15m'\n\
            [component.a]\nclass='c'\nrto='30m'\nfiles={paths=['a']}\n\
            [component.b]\nfiles={paths=['b']}\n\
            [scenario.s]\nrto='6h'\n[drill.d]\ncomponents=['*']\nrpo='2d'\n";
        Plan::parse(&[("p", text)]).expect("plan")
    }

    fn shown(component: &str, now: Circumstances<'_>) -> (String, String) {
        let objectives = resolve(&plan(), component, now);
        let show = |objective: Option<Objective>| objective.expect("set").to_string();
        (show(objectives.rto), show(objectives.rpo))
    }

    #[test]
    fn the_nearest_wins_and_says_so_x_05() {
        let plain = Circumstances::default();
        assert_eq!(shown("a", plain), ("30m (component `a`)".into(), "15m (class `c`)".into()));
        assert_eq!(shown("b", plain), ("4h (the plan)".into(), "1d (the plan)".into()));
    }

    #[test]
    fn scenario_and_drill_come_first_x_06() {
        let now = Circumstances { drill: Some("d"), scenario: Some("s") };
        assert_eq!(shown("a", now), ("6h (scenario `s`)".into(), "2d (drill `d`)".into()));
    }

    #[test]
    fn nobody_set_one() {
        let plan = Plan::parse(&[("p", "[plan]\nname='p'\n[component.a]\nfiles={paths=['a']}\n")])
            .expect("plan");
        assert_eq!(resolve(&plan, "a", Circumstances::default()), Objectives::default());
    }
}
