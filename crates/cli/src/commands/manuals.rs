//! `schema`, `completions` and `man`: what the program says about itself.

use std::path::Path;

use clap::CommandFactory;
use lifeboat_model::exit::Exit;
use serde_json::json;

use crate::args::{Cli, Completions, Man};
use crate::fault::{Fault, Outcome};
use crate::screen::Reply;

/// `lifeboat completions SHELL`
pub fn completions(args: &Completions) -> Outcome<Reply> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lifeboat", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let body = json!({ "shell": args.shell.to_string(), "script": script });
    Reply::new(Exit::Done, "completions", &body, script)
}

/// `lifeboat man [DIR]`
pub fn man(args: &Man) -> Outcome<Reply> {
    let Some(dir) = &args.dir else {
        let page = String::from_utf8_lossy(&page(Cli::command())?).into_owned();
        return Reply::new(Exit::Done, "man", &json!({ "page": page }), page);
    };
    let pages = pages()?;
    if !args.dry_run {
        std::fs::create_dir_all(dir).map_err(|error| cannot(dir, &error))?;
    }
    let mut written = Vec::new();
    for (name, page) in pages {
        let path = dir.join(name);
        if !args.dry_run {
            std::fs::write(&path, page).map_err(|error| cannot(&path, &error))?;
        }
        written.push(path.display().to_string());
    }
    let verb = if args.dry_run { "would write" } else { "wrote" };
    let text = format!("{verb} {} pages to {}", written.len(), dir.display());
    Reply::new(Exit::Done, "man", &json!({ "written": written, "dry_run": args.dry_run }), text)
}

/// Every page with its file name: the program's and one a command.
fn pages() -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command();
    root.build();
    let mut pages = vec![("lifeboat.1".to_owned(), page(root.clone())?)];
    let mut open: Vec<(String, clap::Command)> = root
        .get_subcommands()
        .map(|command| (format!("lifeboat-{}", command.get_name()), command.clone()))
        .collect();
    while let Some((name, command)) = open.pop() {
        open.extend(
            command
                .get_subcommands()
                .map(|below| (format!("{name}-{}", below.get_name()), below.clone())),
        );
        pages.push((format!("{name}.1"), page(command.display_name(&name))?));
    }
    pages.sort();
    Ok(pages)
}

fn page(command: clap::Command) -> Outcome<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Fault::caused(Exit::Failed, "cannot write the manual page", &error))?;
    Ok(page)
}

fn cannot(path: &Path, error: &std::io::Error) -> Fault {
    Fault::caused(Exit::Failed, format!("cannot write {}", path.display()), error)
}

/// `lifeboat schema`
pub fn schema() -> Outcome<Reply> {
    let text = schema_text();
    let document: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Fault::caused(Exit::Failed, "cannot write the schema", &error))?;
    Reply::new(Exit::Done, "schema", &json!({ "document": document }), text)
}

/// The JSON Schema of the plan file, as text.
pub fn schema_text() -> String {
    format!("{:#}\n", lifeboat_model::schema::plan_schema())
}
