//! The plan file and what it includes, read from disk; its errors with file, line and caret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use lifeboat_model::chain::{PlanText, Revision};
use lifeboat_model::exit::Exit;
use lifeboat_model::plan::{Plan, PlanError, PlanErrors};
use lifeboat_model::span::Span;
use lifeboat_recovery::kit::Rescue;
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity,
};

use crate::fault::{Fault, Outcome};

/// The usual name of the file.
const DEFAULT: &str = "lifeboat.toml";

/// A plan that was read, with its texts for findings that come later.
#[derive(Debug)]
pub struct PlanFile {
    /// The file as it was named.
    pub path: PathBuf,
    /// The folder that relative paths start from, absolute.
    pub folder: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// Where the texts came from.
    pub texts: Texts,
    /// What a recovery kit has for it, in a folder that `bootstrap` made.
    pub rescue: Option<Arc<Rescue>>,
}

/// The plan's texts: the file itself, then what it includes.
#[derive(Debug, Default)]
pub struct Texts(Vec<(String, String)>);

impl PlanFile {
    /// Reads and parses.
    ///
    /// # Errors
    /// Exit 2: the file is missing, is no text, or does not parse.
    pub fn read(path: &Path, color: bool) -> Outcome<PlanFile> {
        let absolute = std::path::absolute(path)
            .map_err(|error| Fault::caused(Exit::Usage, "the plan's path is unusable", &error))?;
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
        named_in_text(&folder)?;
        let mut texts = Texts::default();
        let mut seen = BTreeSet::from([absolute.clone()]);
        let mut open = vec![(absolute, path.display().to_string())];
        while let Some((file, name)) = open.pop() {
            let source = texts.0.len();
            let text = read_text(&file, &name, source == 0)?;
            texts.0.push((name, text));
            let text = &texts.0[source].1;
            let includes =
                Plan::includes(source, text).map_err(|errors| texts.refuse(&errors, color))?;
            for include in includes.iter().rev() {
                let below = folder.join(include.as_str());
                if seen.insert(below.clone()) {
                    open.push((below, include.to_string()));
                }
            }
        }
        let pairs: Vec<(&str, &str)> =
            texts.0.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let plan = Plan::parse(&pairs).map_err(|errors| texts.refuse(&errors, color))?;
        let rescue = Rescue::read(&folder)?.map(Arc::new);
        Ok(PlanFile { path: path.to_path_buf(), folder, plan, texts, rescue })
    }

    /// The plan that is in a recovery kit, as if it stood in `folder`.
    ///
    /// # Errors
    /// Exit 2: this version does not read it.
    pub fn of_kit(folder: &Path, kit: &Revision, rescue: Arc<Rescue>) -> Outcome<PlanFile> {
        let pairs = kit.files.iter().map(|file| (file.name.clone(), file.text.clone()));
        let texts = Texts(pairs.collect());
        let plan = kit.plan().map_err(|errors| {
            texts.refuse(&errors, false).hint("take the version of lifeboat that made the kit")
        })?;
        let (path, folder) = (folder.join(DEFAULT), folder.to_path_buf());
        Ok(PlanFile { path, folder, plan, texts, rescue: Some(rescue) })
    }

    /// The folder of local state: what `bootstrap` made keeps it to itself.
    pub fn state(&self) -> PathBuf {
        match self.rescue {
            Some(_) => self.folder.join(".lifeboat"),
            None => self.plan.state(&self.folder),
        }
    }

    /// The plan's files, for tiers: each under the name by which the plan's folder knows it.
    pub fn documents(&self) -> Vec<PlanText> {
        let named = self.path.file_name().unwrap_or_default().to_string_lossy();
        let document = |(at, (name, text)): (usize, &(String, String))| PlanText {
            name: if at == 0 { named.clone().into_owned() } else { name.clone() },
            text: text.clone(),
        };
        self.texts.0.iter().enumerate().map(document).collect()
    }

    /// The folder against which the plan's paths are resolved.
    pub fn base(&self) -> PathBuf {
        self.plan.base(&self.folder)
    }
}

/// Reports and state files are JSON, which is UTF-8: a folder whose name is not cannot stand in them.
///
/// # Errors
/// Exit 2, before anything is written.
pub fn named_in_text(folder: &Path) -> Outcome<()> {
    if folder.to_str().is_some() {
        return Ok(());
    }
    let shown = folder.display();
    Err(Fault {
        causes: vec![format!("the name of {shown} is not UTF-8 text")],
        ..Fault::usage("the plan's folder cannot be named in reports and state files")
    }
    .hint(
        "rename the folder; or make a link to it (`ln -s FOLDER LINK`) and give \
         `--plan /PATH/TO/LINK/lifeboat.toml`",
    ))
}

fn read_text(file: &Path, name: &str, main: bool) -> Outcome<String> {
    let bytes = fs::read(file).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        match (missing, main) {
            (true, true) => Fault::usage(format!("there is no plan at {name}"))
                .hint("`lifeboat init` writes one; `--plan FILE` names another"),
            (true, false) => Fault::usage(format!("the plan includes {name}, which is not there"))
                .hint("correct `include`, relative to the plan's folder"),
            _ => {
                let hint = match error.kind() {
                    io::ErrorKind::IsADirectory => {
                        format!(
                            "name the file: `--plan {}`",
                            Path::new(name).join(DEFAULT).display()
                        )
                    }
                    _ => format!("check owner, mode and mount of {name}"),
                };
                Fault::caused(Exit::Usage, format!("cannot read the plan {name}"), &error)
                    .hint(hint)
            }
        }
    })?;
    String::from_utf8(bytes).map_err(|_| {
        Fault::usage(format!("the plan {name} is not UTF-8 text"))
            .hint("save it as UTF-8; `lifeboat init` writes an example")
    })
}

impl Texts {
    /// `file:line:column` of a place.
    pub fn place(&self, span: Span) -> String {
        let Some((name, text)) = self.0.get(span.source) else { return "plan".into() };
        let before = text.get(..span.start.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{name}:{line}:{column}")
    }

    /// The fault for a plan that does not parse.
    fn refuse(&self, errors: &PlanErrors, color: bool) -> Fault {
        let sentence = |error: &PlanError| format!("{}: {error}", self.place(error.span));
        let mut fault = Fault::usage(errors);
        // The rendering says causes and hints with their places; these are for the JSON document.
        if let [only] = errors.0.as_slice() {
            fault.message = sentence(only);
            fault.hint.clone_from(&only.help);
        } else {
            fault.causes = errors.0.iter().map(sentence).collect();
            fault.hint = errors.0.first().and_then(|error| error.help.clone());
        }
        let mut rendered = format!("error: {errors}\n");
        for error in &errors.0 {
            rendered.push_str(&self.finding(
                &Finding {
                    severity: Severity::Error,
                    code: None,
                    message: error.message.clone(),
                    help: error.help.clone(),
                    span: Some(error.span),
                    related: error.related.clone(),
                },
                color,
            ));
        }
        fault.rendered = Some(rendered);
        fault
    }

    /// One finding with its line and caret.
    pub fn finding(&self, finding: &Finding, color: bool) -> String {
        let mut diagnostic =
            MietteDiagnostic::new(&finding.message).with_severity(finding.severity);
        if let Some(code) = &finding.code {
            diagnostic = diagnostic.with_code(code);
        }
        if let Some(help) = &finding.help {
            diagnostic = diagnostic.with_help(help);
        }
        let source = finding.span.and_then(|span| self.0.get(span.source).map(|text| (span, text)));
        let report = match source {
            None => miette::Report::new(diagnostic),
            Some((span, (name, text))) => {
                let mut labels = vec![label(None, span, text)];
                if let Some((other, words)) = &finding.related
                    && other.source == span.source
                {
                    labels.push(label(Some(words.clone()), *other, text));
                }
                miette::Report::new(diagnostic.with_labels(labels))
                    .with_source_code(NamedSource::new(name, text.clone()))
            }
        };
        let theme =
            if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(100)
            .without_cause_chain();
        let mut out = String::new();
        if handler.render_report(&mut out, report.as_ref()).is_err() {
            return format!("  {}\n", finding.message);
        }
        // The word of every other message of this program.
        out.replace("\n  help: ", "\n  hint: ")
    }
}

/// A finding to print.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How severe.
    pub severity: Severity,
    /// Its code.
    pub code: Option<String>,
    /// One sentence.
    pub message: String,
    /// What mends it.
    pub help: Option<String>,
    /// Where.
    pub span: Option<Span>,
    /// Another place that belongs to it.
    pub related: Option<(Span, String)>,
}

fn label(words: Option<String>, span: Span, text: &str) -> LabeledSpan {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    LabeledSpan::new(words, start, end - start)
}
