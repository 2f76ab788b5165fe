//! `portolan why OBJECT`: the reasons, then what happened lately.

use portolan_core::node::report::Why;

use super::{
    Exit, Format, Outcome, Terminal, json,
    render::text::{age, instant, lines, plain},
};
use crate::client::{Client, Target};

pub(super) async fn run(target: &Target, object: &str, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let why = Client::connect(target).await?.why(object).await?;
    match format {
        Format::Json => json(terminal, &why)?,
        Format::Table | Format::Wide => terminal.out.write_all(render(&why).as_bytes())?,
    }
    Ok(Exit::Ok)
}

fn render(why: &Why) -> String {
    let mut text = format!("{}   {}\n{}", plain(&why.object), instant(why.at), lines(&why.reason.render()));
    if !why.history.is_empty() {
        text.push_str("LATELY\n");
    }
    for happening in &why.history {
        text.push_str(&format!("  {}  {:>7} ago  {}\n", instant(happening.at), age(why.at.since(happening.at)), plain(&happening.text)));
    }
    text
}
