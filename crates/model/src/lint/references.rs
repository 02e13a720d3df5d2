//! Rules about names: entries that refer to what is not there, and entries that nothing refers to.

use super::{Context, Found, Rule};
use crate::plan::error::suggest;
use crate::plan::{Action, Kind};
use crate::span::{At, Span};

pub(super) const UNKNOWN_REFERENCE: Rule = Rule {
    code: "LB005",
    title: "unknown reference",
    explanation: "An entry names a class, component, tier, scenario or other entry that the plan \
        does not have. What depends on it does not happen: a component without its class has \
        other objectives, a schedule without its component backs up nothing.",
    check: unknown_reference,
};

pub(super) const UNUSED_CLASS: Rule = Rule {
    code: "LB007",
    title: "unused class",
    explanation: "No component and no scenario belongs to the class, so its objectives hold for \
        nothing. Often a component's `class` is missing or mistyped.",
    check: unused_class,
};

pub(super) const NOTHING_TO_DO: Rule = Rule {
    code: "LB014",
    title: "nothing to back up, or nowhere to",
    explanation: "A plan needs at least one component and one tier.",
    check: nothing_to_do,
};

/// The names that a reference may have.
struct Names<'a> {
    what: &'static str,
    known: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of<T>(what: &'static str, map: &'a crate::plan::Map<T>) -> Self {
        Names { what, known: map.keys().map(String::as_str).collect() }
    }

    fn check(&self, by: &str, name: &str, span: Span, found: &mut Found) {
        if !self.known.contains(&name) {
            let help = suggest(name, "there is", self.known.iter().copied());
            found.error(
                span,
                format!("{by} names {} `{name}`, which is not there", self.what),
                &help,
            );
        }
    }

    fn each<'b>(
        &self,
        by: &str,
        names: impl IntoIterator<Item = &'b At<String>>,
        found: &mut Found,
    ) {
        for name in names {
            self.check(by, name, name.span(), found);
        }
    }
}

fn unknown_reference(context: &Context<'_>, found: &mut Found) {
    let plan = context.plan;
    let class = Names::of("class", &plan.class);
    let component = Names::of("component", &plan.component);
    let tier = Names::of("tier", &plan.tier);
    let scenario = Names::of("scenario", &plan.scenario);
    for (name, entry) in &plan.component {
        let by = format!("component `{name}`");
        class.each(&by, &entry.class, found);
        for check in &entry.checks {
            let Some(other) = &check.exists_in else { continue };
            component.check(&by, other, other.span(), found);
            let kind = plan.component.get(other.as_str()).map(|entry| &entry.kind);
            if kind.is_some_and(|kind| !matches!(kind, Kind::Files(_))) {
                let message = format!("`exists_in` names `{other}`, which is no files component");
                found.error(other.span(), message, "paths are looked for in files components");
            }
        }
    }
    let named = |names: &crate::plan::Many<At<String>>| {
        names.iter().filter(|name| name.as_str() != "*").cloned().collect::<Vec<_>>()
    };
    for (name, entry) in &plan.schedule {
        let by = format!("schedule `{name}`");
        component.each(&by, &named(&entry.components), found);
        for (key, keep) in &entry.keep {
            tier.check(&by, key, keep.span(), found);
        }
    }
    for (name, entry) in &plan.drill {
        let by = format!("drill `{name}`");
        component.each(&by, &named(&entry.components), found);
        scenario.each(&by, &entry.scenario, found);
    }
    for (name, entry) in &plan.price {
        tier.each(&format!("price `{name}`"), &entry.tier, found);
    }
    for (name, entry) in &plan.prevention {
        scenario.each(&format!("prevention `{name}`"), &entry.scenario, found);
    }
    scenarios(context, found);
    people(context, found);
}

fn scenarios(context: &Context<'_>, found: &mut Found) {
    let plan = context.plan;
    let class = Names::of("class", &plan.class);
    let component = Names::of("component", &plan.component);
    let tier = Names::of("tier", &plan.tier);
    let scenario = Names::of("scenario", &plan.scenario);
    let detector = Names::of("detector", &plan.detector);
    let escalation = Names::of("escalation", &plan.escalation);
    for (name, entry) in &plan.scenario {
        let by = format!("scenario `{name}`");
        class.each(&by, &entry.class, found);
        detector.each(&by, entry.trigger.iter(), found);
        escalation.each(&by, &entry.escalation, found);
        let steps: Vec<&str> = entry
            .steps
            .iter()
            .filter_map(|step| step.name.as_deref())
            .map(String::as_str)
            .collect();
        let step_names = Names { what: "step", known: steps };
        for step in &entry.steps {
            match &step.action {
                Action::Restore(what) => component.check(&by, what, what.span(), found),
                Action::Call(what) => scenario.check(&by, what, what.span(), found),
                _ => {}
            }
            tier.each(&by, &step.tier, found);
            step_names.each(&by, step.after.iter(), found);
        }
    }
    for (name, entry) in &plan.detector {
        let by = format!("detector `{name}`");
        component.each(&by, &entry.component, found);
        scenario.each(&by, &entry.scenario, found);
    }
}

fn people(context: &Context<'_>, found: &mut Found) {
    let plan = context.plan;
    let contact = Names::of("contact", &plan.contact);
    let channel = Names::of("channel", &plan.channel);
    let escalation = Names::of("escalation", &plan.escalation);
    let template = Names::of("template", &plan.template);
    for (name, entry) in &plan.escalation {
        let by = format!("escalation `{name}`");
        for level in &entry.levels {
            contact.each(&by, level.contacts.iter(), found);
            channel.each(&by, level.channels.iter(), found);
        }
    }
    for (name, entry) in &plan.alert {
        let by = format!("alert `{name}`");
        channel.each(&by, entry.channels.iter(), found);
        escalation.each(&by, &entry.escalation, found);
        template.each(&by, &entry.template, found);
    }
    for (name, entry) in &plan.contact {
        contact.each(&format!("contact `{name}`"), &entry.backup, found);
    }
}

fn unused_class(context: &Context<'_>, found: &mut Found) {
    let plan = context.plan;
    for (name, class) in &plan.class {
        let is = |other: &Option<At<String>>| other.as_ref().is_some_and(|o| o.as_str() == name);
        let used = plan.component.values().any(|component| is(&component.class))
            || plan.scenario.values().any(|scenario| is(&scenario.class));
        if !used {
            found.warning(
                class.span(),
                format!("class `{name}` has no component"),
                "give a component this `class`, or remove it",
            );
        }
    }
}

fn nothing_to_do(context: &Context<'_>, found: &mut Found) {
    let name = context.plan.header.name.span();
    if context.plan.component.is_empty() {
        let message = "the plan has no component".to_owned();
        found.error(name, message, "add `[component.NAME]` with `sqlite` or `files`");
    }
    if context.plan.tier.is_empty() {
        let message = "the plan has no tier".to_owned();
        found.error(name, message, "add `[tier.local]` with `url = \"/path\"`");
    }
}
