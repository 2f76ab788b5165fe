//! Weighted choices over real queries: shares converge, and a loss moves nobody else.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;

use super::{
    Bed, Question, eventually,
    plan::{AP, API, EU, Plan, US},
    three_sites,
};

/// Pearson's statistic of what was counted against parts of 60, 30 and 10 in a hundred.
///
/// With two degrees of freedom a right distribution exceeds `x` with probability `exp(-x / 2)`: [`CHI_SQUARE_MAX`] once in a million runs.
fn chi_square(counted: [u32; 3]) -> f64 {
    let total = f64::from(counted.iter().sum::<u32>());
    counted.iter().zip([0.6, 0.3, 0.1]).map(|(&n, part)| (f64::from(n) - total * part).powi(2) / (total * part)).sum()
}

/// `exp(-27.6 / 2)` is 1.0e-6.
const CHI_SQUARE_MAX: f64 = 27.6;

/// Enough that a region which gets 12.5 parts in place of 10 is found out: the statistic is then about 42.
const QUERIES: u32 = 6000;

fn weighted(mut plan: Plan, more: &str) -> Plan {
    for (region, weight) in plan.regions.iter_mut().zip([60, 30, 10]) {
        region.weight = weight;
    }
    plan.service = format!("steering: weighted, ttl: {{ min: 1s, max: 5s }}, slow_start: {{ for: 0s }}{more}");
    plan
}

/// A client in the `n`-th /24 of loopback's upper half.
fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 128, 0, 1).to_bits() + (n << 8))
}

fn count(plan: &Plan, answers: impl IntoIterator<Item = String>) -> [u32; 3] {
    let mut counts = [0; 3];
    for answer in answers {
        let region = [US, EU, AP].iter().position(|region| plan.v4(region) == answer);
        counts[region.unwrap_or_else(|| panic!("{answer} is no region's"))] += 1;
    }
    counts
}

#[test]
fn the_statistic_finds_a_wrong_share() {
    assert!(chi_square([3600, 1800, 600]) < 1e-9);
    assert!(chi_square([3500, 1750, 750]) > CHI_SQUARE_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_converge_over_many_clients() {
    let plan = weighted(Plan::three_regions(), "");
    let bed = Bed::start(&plan).await;
    let mut answers = Vec::new();
    for n in 0..QUERIES {
        answers.push(bed.api(client(n)).await);
    }
    let counts = count(&plan, answers);
    println!("{counts:?}, chi-square {:.2}", chi_square(counts));
    assert!(chi_square(counts) < CHI_SQUARE_MAX, "{counts:?}");
    // Sticky: each client again.
    let again = bed.api(client(17)).await;
    for host in 1..=20 {
        assert_eq!(bed.api([client(17).octets()[0], client(17).octets()[1], client(17).octets()[2], host]).await, again);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_spread_converges_for_one_client() {
    let plan = weighted(Plan::three_regions(), ", spread: random");
    let bed = Bed::start(&plan).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..QUERIES {
        answers.push(Question::a(API).ask_on(&socket, bed.dns()).await.one().to_owned());
    }
    let counts = count(&plan, answers);
    println!("{counts:?}, chi-square {:.2}", chi_square(counts));
    assert!(chi_square(counts) < CHI_SQUARE_MAX, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_a_region_moves_only_its_clients_and_they_return() {
    const CLIENTS: u32 = 300;
    let (plan, mut sites) = three_sites().await;
    let plan = weighted(plan, "");
    let bed = Bed::start(&plan).await;
    let everybody = || async {
        let mut answers = Vec::new();
        for n in 0..CLIENTS {
            answers.push(bed.api(client(n)).await);
        }
        answers
    };
    let before = everybody().await;
    let lost = plan.v4(EU);
    let n_lost = before.iter().filter(|answer| *answer == lost).count();
    assert!((50..150).contains(&n_lost), "30 of 100 clients are about {n_lost} of {CLIENTS}");
    sites[1].kill().await;
    let during = eventually("its clients have moved", everybody, |answers| !answers.iter().any(|answer| answer == lost)).await;
    for (n, (before, during)) in before.iter().zip(&during).enumerate() {
        assert!(before == lost || before == during, "client {n} moved from {before} to {during}");
    }
    let heirs = count(&plan, before.iter().zip(&during).filter(|(before, _)| *before == lost).map(|(_, during)| during.clone()));
    assert!(heirs[0] > 0 && heirs[2] > 0, "both others take of them: {heirs:?}");
    sites[1].revive().await;
    eventually("everybody is where they were", everybody, |answers| *answers == before).await;
}
