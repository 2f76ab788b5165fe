//! `portolan why OBJECT [--at TIME]`: the reasons, then what happened lately; of a data group how it stands now.

use portolan_core::{model::time::Timestamp, node::report::Why};

use super::{
    Exit, Failure, Format, Outcome, advice, data,
    desk::Desk,
    recovery,
    render::text::{age, instant, lines, moment, plain},
};
use crate::{
    api::{proto::ListGroupsRequest, refusal::Reason},
    client::{ClientError, Target},
};

pub(super) async fn run(desk: &mut Desk<'_>, target: &Target, now: Timestamp, object: &str, at: Option<Timestamp>) -> Outcome {
    if let Some(group) = object.strip_prefix("groups/").or_else(|| object.strip_prefix("group ")) {
        return of_group(desk, group, at).await;
    }
    let client = advice::connect(target, now).await?;
    let why = match client.why(object, at).await {
        // A data group, when nothing else has the name.
        Err(ClientError::Refused(refusal)) if refusal.reason == Reason::UnknownObject.word() => {
            let groups = client.list_groups(ListGroupsRequest {}).await.map(|listed| listed.groups).unwrap_or_default();
            if groups.iter().any(|group| group.name.strip_prefix("groups/") == Some(object)) {
                return of_group(desk, object, at).await;
            }
            return Err(ClientError::Refused(refusal).into());
        }
        other => other?,
    };
    let (format, terminal) = (desk.format, &mut desk.terminal);
    match format {
        Format::Json | Format::Yaml => data(terminal, format, &why)?,
        Format::Table | Format::Wide | Format::Markdown | Format::Html => terminal.out.write_all(render(&why).as_bytes())?,
    }
    Ok(Exit::Ok)
}

async fn of_group(desk: &mut Desk<'_>, group: &str, at: Option<Timestamp>) -> Outcome {
    if at.is_some() {
        let message = "why of a group is told as it is now; its operations keep what was: portolan report OP";
        return Err(Failure::new(Exit::Usage, message));
    }
    recovery::why(desk, group).await
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
