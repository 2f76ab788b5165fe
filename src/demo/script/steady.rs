//! Who gets what while all is well.

use portolan_core::model::time::Human;
use tokio::time::sleep;

use super::{sorted, tally};
use crate::demo::{
    Stop,
    ask::CLIENT_PREFIX,
    clients::Answered,
    plan,
    screen::{Screen, seconds},
    stage::{LOOK, Stage},
};

/// Until every resolver has its first answer: it is asked for at once, and again where it is lost.
const FIRST_ANSWERS_MAX: std::time::Duration = std::time::Duration::from_secs(20);

pub(super) async fn act(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let n = stage.clients.map.clients.len();
    screen.head(&format!("WHO GETS WHAT   {n} client networks ask the nodes near them, and keep each answer for its ttl"))?;
    let deadline = stage.clock.tick() + FIRST_ANSWERS_MAX;
    while !stage.clients.all_hold() {
        if stage.clock.tick() > deadline {
            return Err(Stop::Unseen(format!("a first answer for each of {n} client networks within {}", seconds(FIRST_ANSWERS_MAX))));
        }
        sleep(LOOK).await;
    }
    let sweep = stage.clients.sweep().await?;
    for (home, site) in stage.sites.iter().enumerate() {
        let ours: Vec<&Answered> = sweep.answers.iter().filter(|answered| answered.home == home).collect();
        let gets = tally(ours.iter().copied());
        let example = ours.first().map_or_else(String::new, |first| example(stage, home, first));
        screen.say(&format!("  clients of {:<15} {gets:<22} {example}", site.place.name))?;
        if let Some(astray) = ours.iter().find(|answered| answered.region != Some(home)) {
            return Err(Stop::Unseen(format!("every client of {} gets its own region: one gets {:?}", site.place.name, astray.addresses)));
        }
    }
    // Every answer expires once, so that from here on the resolvers ask as they always would.
    sleep(plan::TTL_MIN).await;
    let away = stage.clients.strayed(None);
    if away > 0 {
        return Err(Stop::Unseen(format!("every client stays with its own region: {away} of {n} did not")));
    }
    let answered = stage.clients.totals().answered;
    Ok(screen.say(&format!("  {} later: {answered} answers so far, and each led a client to its own region", Human(plan::TTL_MIN)))?)
}

/// `198.18.1.0/24 -> 127.10.1.1 127.10.1.2 ttl 5s`.
fn example(stage: &Stage, home: usize, answered: &Answered) -> String {
    let client = stage.sites[home].place.clients().next().map_or_else(String::new, |client| client.to_string());
    let addresses: Vec<String> = sorted(&answered.addresses).iter().map(ToString::to_string).collect();
    format!("{client}/{CLIENT_PREFIX} -> {} ttl {}", addresses.join(" "), Human(answered.ttl))
}
