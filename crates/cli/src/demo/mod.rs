//! `lifeboat demo`: an example application, protected, destroyed and recovered before the eyes of
//! whoever looks. It runs the flows of the real commands on a plan, a tier and a key of its own;
//! every number it tells was measured.

pub mod application;
mod chart;
mod ground;
mod measure;
mod page;
mod picture;
mod postgres;
mod scenes;
mod story;
mod tell;

use std::fs;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;

use crate::args::Demo;
use crate::fault::Outcome;
use crate::hands::Hands;
use crate::screen::Reply;
use ground::Ground;
use scenes::Scenes;

/// `lifeboat demo`
pub fn demo(args: &Demo, hands: &Hands<'_>) -> Outcome<Reply> {
    if args.postgres {
        return postgres::demo(args, hands);
    }
    let mut ground = Ground::make(args, ground::PLAN)?;
    let mut scenes = Scenes::new(hands, &ground)?;
    scenes.open_the_shop()?;
    scenes.back_up_twice()?;
    scenes.verify()?;
    scenes.destroy()?;
    scenes.restore_in_place()?;
    scenes.compare()?;
    scenes.rehearse()?;
    scenes.tamper()?;
    scenes.audit()?;
    let story = scenes.tell()?;
    let path = ground.page();
    fs::write(&path, page::render(&story)).map_err(|error| ground::cannot(&path, &error))?;
    // What did not hold is worth a look.
    ground.keep |= story.verdict != Verdict::Pass;
    let exit = if story.verdict == Verdict::Pass { Exit::Done } else { Exit::Failed };
    let text = story.text(hands.screen);
    Reply::new(exit, "demo", &story, text)
}
