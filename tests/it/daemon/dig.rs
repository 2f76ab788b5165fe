//! The daemon as `dig` sees it: another DNS implementation than the one that the tests read answers with.

use std::net::SocketAddr;

use tokio::process::Command;

use super::{
    Bed,
    plan::{API, Plan},
};

/// What `dig` prints. Without retries: a lost answer shows.
pub(super) async fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new("dig")
        .args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+tries=1", "+time=20", "+nocookie", "+norecurse"])
        .args(arguments)
        .output()
        .await
        .expect("dig is installed: make setup");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "dig {arguments:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_finds_the_near_region_of_each_client_network_in_both_families() {
    let bed = Bed::start(&Plan::three_regions()).await;
    for (subnet, scope, v4, v6) in [
        // Networks of the plan: the scope is the network that was written down.
        ("198.18.1.0/24", 24, "192.0.2.10", "2001:db8:10::1"),
        ("198.18.2.0/24", 24, "192.0.2.20", "2001:db8:20::1"),
        ("198.18.3.0/24", 24, "192.0.2.30", "2001:db8:30::1"),
        ("127.2.3.0/24", 16, "192.0.2.20", "2001:db8:20::1"),
        ("2001:db8:1::/56", 48, "192.0.2.10", "2001:db8:10::1"),
        ("2001:db8:3::/56", 48, "192.0.2.30", "2001:db8:30::1"),
        // Blocks of a registry, by the built-in table: North America, Europe, Asia.
        ("24.0.0.0/24", 0, "192.0.2.10", "2001:db8:10::1"),
        ("193.0.0.0/24", 0, "192.0.2.20", "2001:db8:20::1"),
        ("103.1.2.0/24", 0, "192.0.2.30", "2001:db8:30::1"),
    ] {
        for (record_type, address) in [("A", v4), ("AAAA", v6)] {
            let text = dig(bed.dns(), &[API, record_type, &format!("+subnet={subnet}")]).await;
            let answers: Vec<&str> =
                text.lines().filter(|line| line.starts_with(API)).map(|line| line.rsplit('\t').next().unwrap()).collect();
            assert_eq!(answers, [address], "{subnet} {record_type}: {text}");
            assert!(text.contains("flags: qr aa;") && text.contains("status: NOERROR"), "{text}");
            let echoed = text.lines().find_map(|line| line.strip_prefix("; CLIENT-SUBNET: ")).unwrap_or_else(|| panic!("{text}"));
            let (network, seen) = echoed.rsplit_once('/').unwrap();
            assert_eq!(network, subnet, "{text}");
            let seen: u8 = seen.parse().unwrap();
            // How far the built-in table was merged is its own business, but it never tells more than was asked.
            assert!(if scope == 0 { (1..=24).contains(&seen) } else { seen == scope }, "{subnet}: scope {seen}");
        }
    }
    // Without a client subnet the asker's own address counts, and no subnet is answered.
    let text = dig(bed.dns(), &[API, "A", "+tcp", "-b", "127.3.0.1"]).await;
    assert!(text.contains("192.0.2.30") && !text.contains("CLIENT-SUBNET"), "{text}");
}
