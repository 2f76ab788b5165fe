//! `portolan whoami` and `portolan can-i`: who the caller is to the daemon.

use super::{
    Exit, Outcome,
    desk::{Desk, role_word},
    render::{
        COLUMNS,
        text::{plain, wrap},
    },
};
use crate::api::proto::{CanIRequest, Role, WhoAmIRequest, who_am_i_response::Proof};

#[derive(Debug, clap::Args)]
pub(super) struct CanI {
    /// A method of the API: `CreateOverride`, or `portolan.v1.OverrideService/CreateOverride`.
    #[arg(value_name = "METHOD")]
    pub(super) method: String,
}

pub(super) async fn whoami(desk: &mut Desk<'_>) -> Outcome {
    let client = desk.client().await?;
    let me = client.who_am_i(WhoAmIRequest {}).await?;
    if desk.format.is_data() {
        desk.message("WhoAmIResponse", &me)?;
        return Ok(Exit::Ok);
    }
    let proof = match me.proof() {
        Proof::Unspecified => "nothing",
        Proof::Certificate => "a client certificate",
        Proof::Token => "a token",
        Proof::Socket => "the break-glass socket",
        Proof::Loopback => "being on the same machine",
    };
    let mut text = format!("{}   role {}   proved by {proof}\n", plain(&me.name), role_word(me.role()));
    if !me.groups.is_empty() {
        text.push_str(&format!("groups {}\n", me.groups.iter().map(|group| plain(group)).collect::<Vec<_>>().join(" ")));
    }
    text.push_str(&format!("{}\n", wrap(&plain(&me.because), COLUMNS, "  ")));
    desk.print(&text)?;
    Ok(Exit::Ok)
}

pub(super) async fn can_i(desk: &mut Desk<'_>, args: &CanI) -> Outcome {
    let answer = desk.client().await?.can_i(CanIRequest { method: args.method.clone() }).await?;
    let exit = if answer.allowed { Exit::Ok } else { Exit::Refused };
    if desk.format.is_data() {
        desk.message("CanIResponse", &answer)?;
        return Ok(exit);
    }
    let word = if answer.allowed { "yes" } else { "no" };
    let needed = if answer.needed() == Role::Unspecified { "no role" } else { role_word(answer.needed()) };
    let text = format!("{word}: {} needs {needed}, and you are {}\n", plain(&answer.method), role_word(answer.role()));
    desk.print(&text)?;
    if !answer.allowed {
        desk.tell("`portolan whoami` says why; `auth.roles` in the node config gives roles")?;
    }
    Ok(exit)
}
