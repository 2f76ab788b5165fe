//! Nodes and regions that die.

use super::{REGION_NAMES, world::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_may_die_then_its_region_and_nothing_is_lost() {
    let mut world = World::start(SHORT).await;
    let leader = world.led(US_B).await;
    let followers: Vec<usize> = [AP_A, EU_A, US_A, US_B].into_iter().filter(|n| *n != leader).collect();
    for n in [&[leader], followers.as_slice()].concat() {
        let others: Vec<usize> = (0..NODES.len()).filter(|other| *other != n).collect();
        world.order(n).await;
        world.load.begin_anew();
        world.kill(n);
        for other in &others {
            world.order(*other).await;
        }
        world.load.nothing_was_lost(&format!("kill -9 of {}", NODES[n].name), &others).await;
        world.start_node(n).await;
    }
    world.is_whole("all are back").await;
    world.answers_are_local("after all deaths", &ALL).await;
    world.nothing_is_lost().await;

    // A whole region: its nodes, then its endpoint.
    world.load.begin_anew();
    world.lose_region(0).await;
    let survivors = [EU_A, AP_A];
    for n in survivors {
        world.order(n).await;
    }
    let (eu, ap) = (world.own(1), world.own(2));
    world.answers_are("clients of the lost region are elsewhere, others stay", &survivors, &[&eu, &eu, &ap]).await;
    let seen = world.load.nothing_was_lost(&format!("the loss of {}", REGION_NAMES[0]), &survivors).await;
    world.only_moved(&seen, &[0]);
    world.regain_region(0).await;
    world.is_whole("the region is back").await;
    world.answers_are_local("the region is back", &ALL).await;
    world.nothing_is_lost().await;
}
