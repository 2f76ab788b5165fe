//! `portolan why OBJECT [--at TIME]`: the reasons, then what happened lately.

use portolan_core::{model::time::Timestamp, node::report::Why};

use super::{
    Exit, Format, Outcome, Terminal, advice, data,
    render::text::{age, instant, lines, moment, plain},
};
use crate::client::Target;

pub(super) async fn run(
    target: &Target,
    now: Timestamp,
    object: &str,
    at: Option<Timestamp>,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Outcome {
    let why = advice::connect(target, now).await?.why(object, at).await?;
    match format {
        Format::Json | Format::Yaml => data(terminal, format, &why)?,
        Format::Table | Format::Wide | Format::Markdown | Format::Html => terminal.out.write_all(render(&why).as_bytes())?,
    }
    Ok(Exit::Ok)
}

fn render(why: &Why) -> String {
    let mut text = format!("{}   {}\n", plain(&why.object), instant(why.at));
    text.push_str(&why.moment.as_ref().map_or_else(String::new, moment));
    text.push_str(&lines(&why.reason.render()));
    if !why.history.is_empty() {
        text.push_str("LATELY\n");
    }
    for happening in &why.history {
        text.push_str(&format!("  {}  {:>7} ago  {}\n", instant(happening.at), age(why.at.since(happening.at)), plain(&happening.text)));
    }
    text
}
