//! Lines that are cut, both ways or one way, and lines that lose packets.

use super::{REGION_NAMES, place::REGIONS, world::*};

/// Nodes that stand elsewhere.
fn elsewhere(region: usize) -> Vec<usize> {
    ALL.into_iter().filter(|n| NODES[*n].region != region).collect()
}

/// Nodes that stand here.
fn here(region: usize) -> Vec<usize> {
    ALL.into_iter().filter(|n| NODES[*n].region == region).collect()
}

/// While a region has no majority behind it: the others decide, it does not, everybody answers, and no healthy region is withdrawn by anybody for
/// those who reach it. Then all lines are mended, and nobody lends a hand.
async fn a_region_without_a_majority_freezes_and_heals(world: &mut World, region: usize, what: &str) {
    let (others, own) = (elsewhere(region), here(region));
    for n in &others {
        world.order(*n).await;
    }
    world.order_in_vain(own[0]).await;
    // What the majority decides does not reach it.
    let drained = NODES[others[0]].region;
    let refuge = (0..REGIONS).find(|it| *it != drained && *it != region).unwrap();
    world.drain(others[0], drained).await;
    let mut wanted: Vec<String> = (0..REGIONS).map(|region| world.own(region)).collect();
    wanted[drained] = world.own(refuge);
    wanted[region] = world.own(refuge);
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    world.answers_are(&format!("{what}: who decides obeys"), &others, &wanted).await;
    let seen = world.load.nothing_was_lost(&format!("{what}: {} among the others", REGION_NAMES[region]), &others).await;
    world.only_moved(&seen, &[drained, region]);
    world.answers_are_local(&format!("{what}: who does not decide stays as it was"), &own).await;
    world.undrain(others[1], drained).await;

    world.mend();
    world.is_whole("the lines are mended").await;
    world.answers_are_local("the lines are mended", &ALL).await;
    for n in ALL {
        world.order(n).await;
    }
    world.load.nothing_was_lost(&format!("{what}: mended"), &ALL).await;
    world.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cut_uplink_withdraws_no_healthy_region_anywhere() {
    let mut world = World::start(SHORT).await;
    // That of the leader, so that the others have to find another one.
    let region = NODES[world.led(US_B).await].region;
    let (others, own) = (elsewhere(region), here(region));
    world.load.begin_anew();
    world.cut_off(region);
    world.are_withdrawn(&others, region).await;
    let seen = world.load.nothing_was_lost("the uplink is cut, at the others", &others).await;
    world.only_moved(&seen, &[region]);
    let seen = world.load.nothing_was_lost("the uplink is cut, on its own side", &own).await;
    world.only_moved(&seen, &[]);
    a_region_without_a_majority_freezes_and_heals(&mut world, region, "cut off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_and_is_not_heard_is_deposed() {
    let mut world = World::start(SHORT).await;
    let leader = world.led(US_B).await;
    let region = NODES[leader].region;
    world.load.begin_anew();
    for other in (0..REGIONS).filter(|other| *other != region) {
        world.cut(region, other);
    }
    a_region_without_a_majority_freezes_and_heals(&mut world, region, "not heard").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_heard_and_hears_nothing_deposes_nobody() {
    let mut world = World::start(SHORT).await;
    let leader = world.led(US_B).await;
    let region = (0..REGIONS).rev().find(|region| *region != NODES[leader].region).unwrap();
    let term = world.term(leader).await;
    world.load.begin_anew();
    for other in (0..REGIONS).filter(|other| *other != region) {
        world.cut(other, region);
    }
    a_region_without_a_majority_freezes_and_heals(&mut world, region, "deaf").await;
    assert_eq!((world.led(leader).await, world.term(leader).await), (leader, term), "who hears nothing moves nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_three_packets_in_ten_are_lost_answers_and_orders_go_on() {
    let mut world = World::start(USUAL).await;
    world.load.begin_anew();
    for from in 0..REGIONS {
        for to in (0..REGIONS).filter(|to| *to != from) {
            // A question between regions may be lost like any packet; at home none is.
            world.load.excuse_between(from, to);
            world.lines.change(from, to, |line| line.loss_percent = 30);
        }
    }
    for n in ALL {
        world.order(n).await;
    }
    world.load.nothing_was_lost("three packets in ten are lost", &ALL).await;
    world.mend();
    world.is_whole("the lines are mended").await;
    world.answers_are_local("the lines are mended", &ALL).await;
    world.nothing_is_lost().await;
}
