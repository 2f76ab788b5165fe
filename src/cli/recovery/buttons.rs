//! The verbs by which people move primaries. Each is one call of the API, judged only with `--dry-run`, and asked about before it is sent.

use super::{
    About, Adopt, Approve, AssertFenced, Cancel, Failback, Failover, GROUPS, OPERATIONS, Rejoin, Switchover, evacuate, full,
    rehearsal::{self, Wish},
    returns, short,
};
use crate::{
    api::proto::{
        AdoptGroupRequest, ApproveOperationRequest, AssertFencedRequest, CancelOperationRequest, Commit, Group, RejectOperationRequest,
        RejoinMemberRequest, ReleaseCoolDownRequest, RetryStepRequest, SkipStepRequest, StartFailbackRequest, StartFailoverRequest,
        StartSwitchoverRequest, TurnOperationRequest,
    },
    cli::{
        Exit, Failure, Outcome, change,
        desk::Desk,
        orders::Release,
        render::{
            COLUMNS,
            text::{plain, wrap},
        },
    },
    client::ClientError,
};

/// How a change ended.
fn done(desk: &mut Desk<'_>, what: &str, dry_run: bool, group: Option<&Group>, commit: Option<&Commit>) -> Outcome {
    if dry_run {
        let text = format!("dry run: {what} would be accepted now; nothing was changed");
        desk.print(&format!("{}\n", wrap(&text, COLUMNS, "  ")))?;
        return Ok(Exit::Ok);
    }
    let operation = group.and_then(|group| group.operation.as_ref()).map(|it| plain(short(&it.name)));
    let named = operation.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
    desk.print(&format!("{what}{named}{}\n", change::commit_note(commit)))?;
    desk.tell(&operation.map_or_else(|| "see: portolan recovery status".to_owned(), |name| format!("see: portolan watch {name}")))?;
    Ok(Exit::Ok)
}

/// Asks, sends and shows. `grave`: what is typed to confirm it; `None`: only where the context is protected.
macro_rules! ordered {
    ($desk:ident, $args:ident, $what:expr, $grave:expr, $response:literal, $call:ident, $request:expr) => {{
        let client = $desk.client().await?;
        let what: String = $what;
        $args.change.confirm($desk, &client, &what, $grave).await?;
        let request_id = if $args.change.dry_run { String::new() } else { $args.once.id($desk)? };
        let request = $request(request_id);
        let again = change::again(&request.request_id);
        let answer = client.$call(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
        if $desk.format.is_data() {
            $desk.message($response, &answer)?;
            return Ok(Exit::Ok);
        }
        done($desk, &plain(&what), $args.change.dry_run, answer.group.as_ref(), answer.commit.as_ref())
    }};
}

pub(in crate::cli) async fn adopt(desk: &mut Desk<'_>, args: &Adopt) -> Outcome {
    let what = format!("adopt {} with primary {}", short(&args.group), args.primary);
    ordered!(desk, args, what, Some(&args.primary), "AdoptGroupResponse", adopt_group, |request_id| AdoptGroupRequest {
        name: full(GROUPS, &args.group),
        primary: args.primary.clone(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(in crate::cli) async fn switchover(desk: &mut Desk<'_>, args: &Switchover) -> Outcome {
    let group = short(&args.group);
    let what = format!("switch {group} over to {}", args.to);
    if args.change.dry_run {
        let wish = Wish { kind: "switchover", group, to: &args.to, allowed_loss: None };
        rehearsal::show(desk, &wish).await?;
    }
    ordered!(desk, args, what, Some(group), "StartSwitchoverResponse", start_switchover, |request_id| StartSwitchoverRequest {
        name: full(GROUPS, &args.group),
        to: args.to.clone(),
        expected_token: args.expected.expected_epoch.clone(),
        plan_id: args.plan.clone(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(in crate::cli) async fn failback(desk: &mut Desk<'_>, args: &Failback) -> Outcome {
    let group = short(&args.group);
    let what = format!("fail {group} back to where the plan expects its primary");
    if args.change.dry_run {
        let wish = Wish { kind: "failback", group, to: "", allowed_loss: None };
        rehearsal::show(desk, &wish).await?;
    }
    ordered!(desk, args, what, Some(group), "StartFailbackResponse", start_failback, |request_id| StartFailbackRequest {
        name: full(GROUPS, &args.group),
        expected_token: args.expected.expected_epoch.clone(),
        plan_id: args.plan.clone(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

/// Says why a member does not follow, or lets it be copied anew. Exits 3 while it does not follow.
pub(in crate::cli) async fn rejoin(desk: &mut Desk<'_>, args: &Rejoin) -> Outcome {
    let (group, region) = (short(&args.group), short(&args.region));
    let what = format!("copy {group} in {region} anew, and remove the directory that is there");
    let client = desk.client().await?;
    let change = change::Change { reason: args.reason.clone(), dry_run: args.dry_run, yes: args.yes };
    let mut request_id = String::new();
    if args.reclone {
        change.confirm(desk, &client, &what, Some(region)).await?;
        if !args.dry_run {
            request_id = args.once.id(desk)?;
        }
    } else {
        desk.introduce(&client).await?;
    }
    let again = change::again(&request_id);
    let request = RejoinMemberRequest {
        name: full(GROUPS, &args.group),
        region: region.to_owned(),
        reclone: args.reclone,
        validate_only: args.dry_run,
        request_id,
        reason: args.reason.clone(),
    };
    let answer = client.rejoin_member(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("RejoinMemberResponse", &answer)?;
        return Ok(Exit::Ok);
    }
    if args.reclone && args.dry_run {
        desk.print(&format!("dry run: to {} would be accepted now; nothing was changed\n", plain(&what)))?;
        return Ok(Exit::Ok);
    }
    if args.reclone {
        desk.print(&format!("{}{}\n", plain(&what), change::commit_note(answer.commit.as_ref())))?;
    } else if answer.obstacle.is_empty() {
        desk.print(&format!("{} follows\n", plain(region)))?;
    } else {
        desk.print(&format!("{} does not follow: {}\n", plain(region), plain(&answer.obstacle)))?;
    }
    if !answer.remedy.is_empty() {
        desk.tell(&format!("next: {}", plain(&answer.remedy)))?;
    }
    Ok(if args.reclone || answer.obstacle.is_empty() { Exit::Ok } else { Exit::Degraded })
}

pub(in crate::cli) async fn failover(desk: &mut Desk<'_>, args: &Failover) -> Outcome {
    let group = short(&args.group);
    let to = if args.to.is_empty() { "the best copy" } else { &args.to };
    let asserted =
        if args.assert_fenced.is_empty() { String::new() } else { format!(", you answer for it that {} is stopped", args.assert_fenced) };
    let what = format!("fail {group} over to {to}{}{asserted}", args.loss.text());
    let typed = if args.assert_fenced.is_empty() { group } else { &args.assert_fenced };
    if args.change.dry_run {
        let wish = Wish { kind: "failover", group, to: &args.to, allowed_loss: args.loss.wire() };
        rehearsal::show(desk, &wish).await?;
    }
    ordered!(desk, args, what, Some(typed), "StartFailoverResponse", start_failover, |request_id| StartFailoverRequest {
        name: full(GROUPS, &args.group),
        to: args.to.clone(),
        allowed_loss: args.loss.wire(),
        expected_token: args.expected.expected_epoch.clone(),
        assert_fenced: args.assert_fenced.clone(),
        plan_id: args.plan.clone(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(in crate::cli) async fn approve(desk: &mut Desk<'_>, args: &Approve) -> Outcome {
    let name = short(&args.operation);
    let what = format!("approve {name}{}", args.loss.text());
    ordered!(desk, args, what, Some(name), "ApproveOperationResponse", approve_operation, |request_id| ApproveOperationRequest {
        name: full(OPERATIONS, &args.operation),
        allowed_loss: args.loss.wire(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

/// Ends an operation, an evacuation, or a return of traffic.
pub(in crate::cli) async fn cancel(desk: &mut Desk<'_>, args: &Cancel) -> Outcome {
    if evacuate::is_one(&args.about.operation) {
        return evacuate::cancel(desk, args).await;
    }
    if returns::is_one(&args.about.operation) && !args.undrain {
        return returns::take_back(desk, args).await;
    }
    if args.undrain || !args.overrules.rules.is_empty() {
        let message = format!(
            "cancel {}: --undrain is for evacuations (evac-17), --override for them and for returns of traffic (return-17)",
            plain(short(&args.about.operation))
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let args = &args.about;
    let name = short(&args.operation);
    ordered!(desk, args, format!("cancel {name}"), Some(name), "CancelOperationResponse", cancel_operation, |request_id| {
        CancelOperationRequest {
            name: full(OPERATIONS, &args.operation),
            validate_only: args.change.dry_run,
            request_id,
            reason: args.change.reason.clone(),
        }
    })
}

pub(in crate::cli) async fn reject(desk: &mut Desk<'_>, args: &About) -> Outcome {
    let name = short(&args.operation);
    ordered!(desk, args, format!("reject {name}"), None, "RejectOperationResponse", reject_operation, |request_id| RejectOperationRequest {
        name: full(OPERATIONS, &args.operation),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(in crate::cli) async fn turn(desk: &mut Desk<'_>, args: &About) -> Outcome {
    let name = short(&args.operation);
    ordered!(desk, args, format!("turn {name} into a failover"), Some(name), "TurnOperationResponse", turn_operation, |request_id| {
        TurnOperationRequest {
            name: full(OPERATIONS, &args.operation),
            validate_only: args.change.dry_run,
            request_id,
            reason: args.change.reason.clone(),
        }
    })
}

pub(in crate::cli) async fn retry(desk: &mut Desk<'_>, args: &About) -> Outcome {
    let name = short(&args.operation);
    ordered!(desk, args, format!("try the held step of {name} again"), None, "RetryStepResponse", retry_step, |request_id| {
        RetryStepRequest {
            name: full(OPERATIONS, &args.operation),
            validate_only: args.change.dry_run,
            request_id,
            reason: args.change.reason.clone(),
        }
    })
}

pub(in crate::cli) async fn skip(desk: &mut Desk<'_>, args: &About) -> Outcome {
    let name = short(&args.operation);
    ordered!(desk, args, format!("skip the validation of {name}"), Some(name), "SkipStepResponse", skip_step, |request_id| {
        SkipStepRequest {
            name: full(OPERATIONS, &args.operation),
            validate_only: args.change.dry_run,
            request_id,
            reason: args.change.reason.clone(),
        }
    })
}

pub(in crate::cli) async fn assert_fenced(desk: &mut Desk<'_>, args: &AssertFenced) -> Outcome {
    let (region, args) = (&args.region, &args.about);
    let name = short(&args.operation);
    let what = format!("answer for it in {name} that {region} is stopped");
    ordered!(desk, args, what, Some(region), "AssertFencedResponse", assert_fenced, |request_id| AssertFencedRequest {
        name: full(OPERATIONS, &args.operation),
        region: region.clone(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

/// `portolan release GROUP --cool-down`.
pub(in crate::cli) async fn release(desk: &mut Desk<'_>, args: &Release) -> Outcome {
    let args = &args.take_back;
    let words: Vec<&str> = args.object.iter().map(String::as_str).filter(|word| *word != "group").collect();
    let [group] = words.as_slice() else {
        let message = format!("release --cool-down: `{}` is not one data group", plain(&args.object.join(" ")));
        return Err(Failure::new(Exit::Usage, message));
    };
    let what = format!("end the cool-down of {}", short(group));
    ordered!(desk, args, what, None, "ReleaseCoolDownResponse", release_cool_down, |request_id| ReleaseCoolDownRequest {
        name: full(GROUPS, group),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}
