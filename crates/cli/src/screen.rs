//! What reaches the user: the result on standard output, everything else on standard error.
//!
//! A command hands back a [`Reply`]; it is printed once, as text or as one JSON document. A closed
//! pipe on standard output is no error: the command's own end decides the exit code. Any other
//! failed write (a full disk) is one: a result that nobody got is not a success.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::fault::Fault;

/// The end of a command that ran: also of one that found bad news.
#[derive(Debug)]
pub struct Reply {
    /// The exit code.
    pub exit: Exit,
    /// Name of the JSON document, after `lifeboat/`.
    pub schema: &'static str,
    /// Fields of the JSON document.
    pub body: Value,
    /// The same for people.
    pub text: String,
}

impl Reply {
    /// A reply from anything that serialises to an object.
    ///
    /// # Errors
    /// If it does not serialise.
    pub fn new(
        exit: Exit,
        schema: &'static str,
        body: &impl Serialize,
        text: impl Into<String>,
    ) -> Result<Self, Fault> {
        let body = serde_json::to_value(body)
            .map_err(|error| Fault::caused(Exit::Failed, "cannot write the result", &error))?;
        Ok(Reply { exit, schema, body, text: text.into() })
    }
}

/// Where and how to print.
#[derive(Debug)]
pub struct Screen {
    /// One JSON document instead of text.
    pub json: bool,
    /// No log, no progress.
    pub quiet: bool,
    /// Colour on standard output.
    pub color: bool,
    /// Standard error is a terminal: progress may be drawn.
    pub live: bool,
    notes: RefCell<Vec<String>>,
}

/// Version of every JSON document of this program.
pub const VERSION: u32 = 1;

impl Screen {
    /// Looks at the standard streams.
    pub fn new(json: bool, quiet: bool, no_color: bool) -> Self {
        let color = std::io::stdout().is_terminal() && !no_color && !json;
        let live = std::io::stderr().is_terminal() && !quiet;
        Screen { json, quiet, color, live, notes: RefCell::default() }
    }

    /// A line that the user should know besides the result: on standard error, and among the
    /// `notes` of the JSON document.
    pub fn note(&self, line: impl Into<String>) {
        let line = line.into();
        if !self.quiet {
            log_line(&line);
        }
        self.notes.borrow_mut().push(line);
    }

    /// Prints a reply. If that fails a command that was done has failed; bad news keep their code.
    pub fn reply(&self, reply: &Reply) -> Exit {
        let printed = if self.json {
            self.document(reply.schema, reply.exit, &reply.body)
        } else if reply.text.is_empty() {
            Ok(())
        } else {
            let end = if reply.text.ends_with('\n') { "" } else { "\n" };
            print(&format!("{}{end}", reply.text))
        };
        match printed {
            Ok(()) => reply.exit,
            Err(error) => {
                complain(&not_printed(&error));
                if reply.exit == Exit::Done { Exit::Failed } else { reply.exit }
            }
        }
    }

    /// Prints a failure: a document on standard output, or sentence, causes and hint on standard
    /// error.
    pub fn fault(&self, fault: &Fault) -> Exit {
        if self.json {
            let body = json!({
                "error": fault.message,
                "causes": fault.causes,
                "hint": fault.hint,
            });
            let Err(error) = self.document("error", fault.exit, &body) else { return fault.exit };
            complain(&not_printed(&error));
        }
        complain(fault);
        fault.exit
    }

    fn document(&self, schema: &str, exit: Exit, body: &Value) -> io::Result<()> {
        let mut whole = Map::new();
        whole.insert("schema".into(), format!("lifeboat/{schema}").into());
        whole.insert("version".into(), VERSION.into());
        whole.insert("exit".into(), exit.code().into());
        match body {
            Value::Object(fields) => {
                for (name, value) in fields {
                    whole.insert(name.clone(), value.clone());
                }
            }
            other => {
                whole.insert("result".into(), other.clone());
            }
        }
        let notes = self.notes.borrow();
        if !notes.is_empty() {
            whole.insert("notes".into(), json!(*notes));
        }
        print(&format!("{:#}\n", Value::Object(whole)))
    }

    /// Emphasis.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What may be overlooked.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Good news.
    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Attention.
    pub fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Bad news.
    pub fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    /// A verdict in its colour.
    pub fn verdict(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Pass => self.green(verdict.word()),
            Verdict::Fail => self.red(verdict.word()),
            Verdict::Inconclusive | Verdict::Skipped => self.yellow(verdict.word()),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A calm table: no borders, a dim heading, two spaces between columns.
    pub fn table(&self, heading: &[&str]) -> Grid {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(heading.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
        Grid { table }
    }
}

/// A table under construction.
#[derive(Debug)]
pub struct Grid {
    table: Table,
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    Plain,
    /// Aligned to the right.
    Number,
    /// The subject of the row.
    Name,
    /// Good news.
    Good,
    /// Attention.
    Doubt,
    /// Bad news.
    Bad,
    /// What may be overlooked.
    Faint,
}

impl Look {
    /// The look of a verdict.
    pub fn of(verdict: Verdict) -> Look {
        match verdict {
            Verdict::Pass => Look::Good,
            Verdict::Fail => Look::Bad,
            Verdict::Inconclusive | Verdict::Skipped => Look::Doubt,
        }
    }
}

impl Grid {
    /// Adds a row.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[(S, Look)]) {
        self.table.add_row(cells.iter().map(|(text, look)| {
            let cell = Cell::new(text.as_ref());
            match look {
                Look::Plain => cell,
                Look::Number => cell.set_alignment(CellAlignment::Right),
                Look::Name => cell.add_attribute(Attribute::Bold),
                Look::Good => cell.fg(Color::Green),
                Look::Doubt => cell.fg(Color::Yellow),
                Look::Bad => cell.fg(Color::Red),
                Look::Faint => cell.add_attribute(Attribute::Dim),
            }
        }));
    }

    /// The lines, without trailing spaces, each ended.
    pub fn text(mut self) -> String {
        let columns = self.table.column_count();
        for at in 0..columns {
            if let Some(column) = self.table.column_mut(at) {
                column.set_padding((if at == 0 { 0 } else { 1 }, 1));
            }
        }
        let mut out = String::new();
        for line in self.table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// One line on standard error.
pub fn log_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Sentence, causes and hint on standard error; where that cannot be written nobody listens.
fn complain(fault: &Fault) {
    let text = fault.rendered.as_ref().map_or_else(
        || {
            let causes = fault.causes.iter().map(|cause| format!("  caused by: {cause}\n"));
            let hint = fault.hint.iter().map(|hint| format!("  hint: {hint}\n"));
            let below: String = causes.chain(hint).collect();
            format!("error: {}\n{below}", fault.message)
        },
        // It holds the causes and hints, each at its place.
        |rendered| format!("{}\n", rendered.trim_end()),
    );
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A result that did not reach its reader.
pub fn not_printed(error: &io::Error) -> Fault {
    Fault::caused(Exit::Failed, "cannot write the result to standard output", error)
        .hint("free some space where standard output goes; what the command did is done")
}

/// Writes to standard output. A reader that went away (`lifeboat list | head`) is not an error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    quiet_pipe(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The end of writing to standard output, but for a reader that went away.
pub fn quiet_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
