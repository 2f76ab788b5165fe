//! Plan files that differ from region to region.

use super::{place::REGIONS, world::*};
use crate::daemon::eventually;

/// Nodes with the new file: two regions of three.
const NEW: [usize; 3] = [US_A, US_B, EU_A];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_plan_files_are_told_of_and_move_nothing() {
    let mut world = World::start(SHORT).await;
    world.load.begin_anew();
    let mut plan = world.plan.clone();
    for (region, address) in plan.regions.iter_mut().zip(["192.0.2.11", "192.0.2.21", "192.0.2.31"]) {
        region.v4 = address;
    }
    let text = plan.text(2);
    for n in NEW {
        world.nodes[n].write_plan(&text);
    }
    tell_drift(&world, &NEW).await;
    world.order(AP_A).await;
    // Who starts with another file than the agreed plan never answers from it, however it ended.
    world.kill(EU_A);
    world.start_node(EU_A).await;
    world.ask_to_stop(US_B);
    world.stopped(US_B).await;
    world.start_node(US_B).await;
    world.is_whole("both are back").await;
    tell_drift(&world, &NEW).await;
    world.order(EU_A).await;
    let seen = world.load.nothing_was_lost("files of two revisions", &ALL).await;
    world.only_moved(&seen, &[]);

    world.apply_plan(AP_A, &text).await;
    world.plan = plan;
    world.answers_are_local("the new plan is in force", &ALL).await;
    tell_drift(&world, &[AP_A]).await;
    world.load.begin_anew();
    world.order(US_A).await;
    let seen = world.load.nothing_was_lost("the new plan", &ALL).await;
    world.only_moved(&seen, &[]);
    assert_eq!(seen.addresses.len(), REGIONS, "{:?}", seen.addresses);
    world.nothing_is_lost().await;
}

/// Waits until these nodes and no others say that their file is not the plan in force.
async fn tell_drift(world: &World, nodes: &[usize]) {
    for n in ALL {
        let what = format!("{} tells whether its file is another one", NODES[n].name);
        let tells = || async { world.notices(n).await.iter().any(|kind| kind == "plan_drift") };
        eventually(&what, tells, |tells| *tells == nodes.contains(&n)).await;
    }
}
