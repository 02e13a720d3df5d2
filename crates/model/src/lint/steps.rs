//! Rules about recovery: what cannot be restored, scenarios that do not fit their objectives.

use super::{Context, Found, Rule};
use crate::duration::Duration;
use crate::plan::{Action, Kind};

pub(super) const NO_WAY_BACK: Rule = Rule {
    code: "LB019",
    title: "component that cannot be restored",
    explanation: "A `command` component needs `load` beside `dump`: without it there are copies \
        and no way back.",
    check: no_way_back,
};

pub(super) const WRONG_ORDER: Rule = Rule {
    code: "LB021",
    title: "restored in the wrong order",
    explanation: "A scenario restores a component of a later order before one of an earlier. \
        Critical components come first: change the steps or the `order` of their classes.",
    check: wrong_order,
};

pub(super) const OVER_BUDGET: Rule = Rule {
    code: "LB022",
    title: "step budgets above the RTO",
    explanation: "The budgets of a scenario's steps add up to more than its RTO, so that even a \
        recovery in which each step keeps its budget misses it. Equal leaves no slack.",
    check: over_budget,
};

pub(super) const NO_STEPS: Rule = Rule {
    code: "LB024",
    title: "scenario without steps or objective",
    explanation: "A scenario without steps says that something may happen, not what is done then; \
        without an RTO nobody can tell whether it was done in time.",
    check: no_steps,
};

fn no_way_back(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        if let Kind::Command(command) = &component.kind
            && command.load.is_none()
        {
            found.error(
                command.dump.span(),
                format!("component `{name}` can be dumped but not loaded"),
                "add `load = \"…\"`, the command that reads the dump back",
            );
        }
    }
}

fn wrong_order(context: &Context<'_>, found: &mut Found) {
    let plan = context.plan;
    for (name, scenario) in &plan.scenario {
        let mut latest: Option<(u32, &str)> = None;
        for step in &scenario.steps {
            let Action::Restore(what) = &step.action else { continue };
            let Some(component) = plan.component.get(what.as_str()) else { continue };
            let order = plan.order_of(component);
            match latest {
                Some((before, other)) if order < before => found.error(
                    what.span(),
                    format!("scenario `{name}` restores `{other}` before `{what}`"),
                    "components of an earlier order come first",
                ),
                _ => latest = Some((order, what)),
            }
        }
    }
}

fn over_budget(context: &Context<'_>, found: &mut Found) {
    for (name, scenario) in &context.plan.scenario {
        // Branches may leave steps out; with a condition the sum is only an upper limit.
        if scenario.steps.iter().any(|step| step.when.is_some()) {
            continue;
        }
        let Some(rto) = &scenario.rto else { continue };
        let budgets = scenario.steps.iter().filter_map(|step| step.budget.as_deref());
        let sum = budgets.fold(Duration::ZERO, |sum, budget| sum.plus(*budget));
        let suggestion = "shorten the steps or relax the RTO";
        if sum > **rto {
            let message = format!("the steps of scenario `{name}` take {sum}, its RTO is {rto}");
            found.error(rto.span(), message, suggestion);
        } else if sum == **rto {
            let message = format!("the steps of scenario `{name}` take all of its RTO, {rto}");
            found.warning(rto.span(), message, suggestion);
        }
        if let Some(estimate) = scenario.estimate.as_ref().filter(|estimate| ***estimate >= **rto) {
            let message = format!("scenario `{name}` is estimated at {estimate}, its RTO is {rto}");
            match **estimate > **rto {
                true => found.error(estimate.span(), message, suggestion),
                false => found.warning(estimate.span(), message, suggestion),
            }
        }
    }
}

fn no_steps(context: &Context<'_>, found: &mut Found) {
    for (name, scenario) in &context.plan.scenario {
        if scenario.steps.is_empty() {
            let message = format!("scenario `{name}` has no steps");
            found.warning(scenario.span(), message, "say what is done, in order");
        }
        if scenario.rto.is_none() && context.plan.header.rto.is_none() {
            let message = format!("scenario `{name}` has no RTO");
            found.warning(scenario.span(), message, "set `rto`");
        }
    }
}
