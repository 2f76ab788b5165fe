//! The examples load, mean what they say, and fit their schemas.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use portolan_core::{
    document::Severity,
    model::{
        check::{Host, ProbeKind},
        ids::RegionIdx,
        topology::{AllDown, Stage, Target},
        units::Share,
    },
    plan::{Means, Trigger, ValidationStep},
};

use super::super::{LoadedPlan, node, plan, to_json};

fn loaded(text: &str) -> LoadedPlan {
    plan::load(text, "plan.yaml", &plan::Options::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("config/{name}")).unwrap()
}

#[test]
fn the_example_plan_resolves() {
    let LoadedPlan { plan, topology, digest, .. } = loaded(&file("plan.yaml"));
    assert_eq!((topology.revision, topology.regions.len(), topology.zones.len()), (7, 3, 1));
    let api = &topology.services[topology.service("api").unwrap().get()];
    assert_eq!(api.steering.stages, [Stage::Geo, Stage::Priority, Stage::Weight]);
    assert_eq!(api.steering.tie, Share::percent(10));
    assert_eq!(
        api.pools.iter().map(|pool| (pool.weight.0, pool.priority, pool.count)).collect::<Vec<_>>(),
        [(60, 1, 3), (30, 2, 2), (10, 3, 2)]
    );
    let fence = api.steering.residency.as_ref().unwrap();
    assert_eq!(fence.by_code.values().next().unwrap().iter().collect::<Vec<_>>(), [RegionIdx(0), RegionIdx(1)]);
    let second = &topology.endpoints[1];
    assert_eq!((&second.target, second.port, second.weight.0), (&Target::Address(IpAddr::from([198, 51, 100, 11])), 80, 2));
    let check = &topology.checks[second.check.get()];
    assert_eq!(check.address.as_ref().map(ToString::to_string).as_deref(), Some("198.51.100.11:80"));
    let ProbeKind::Http { path, tls: None, expect, .. } = &check.probe.kind else { panic!("{check:?}") };
    assert_eq!((path.as_str(), expect.status.as_slice()), ("/health", [(200, 299)].as_slice()));
    let cadence = &check.probe.cadence;
    assert_eq!(
        (cadence.interval, cadence.timeout, cadence.fast_interval),
        (Duration::from_secs(30), Duration::from_secs(5), Duration::from_secs(2))
    );
    // A name that follows a primary has no endpoints: members are answered by proof. One that follows replicas has each member as an endpoint.
    let follower = &topology.services[topology.service("orders-db").unwrap().get()];
    assert_eq!((follower.pools.len(), follower.all_down, follower.ttl.max.secs()), (0, AllDown::Servfail, 15));
    let published: Vec<String> =
        follower.follows.as_ref().unwrap().members.iter().map(|member| format!("{}:{}", member.address, member.port)).collect();
    assert_eq!(published, ["198.51.100.50:5432", "192.0.2.50:5432", "203.0.113.50:5432"]);
    let readers = &topology.services[topology.service("orders-db-read").unwrap().get()];
    assert_eq!((readers.pools.len(), readers.steering.preset, readers.follows_primary()), (3, "geo", None));
    // Seven endpoints, one way to probe; members of the group, whom agents judge; and the databases of the three.
    assert_eq!(topology.checks.len(), 11);
    assert!(topology.checks[..7].windows(2).all(|pair| std::sync::Arc::ptr_eq(&pair[0].probe, &pair[1].probe)));
    let databases: Vec<&str> = topology.databases.values().flat_map(BTreeMap::keys).map(|region| region.as_str()).collect();
    assert_eq!(databases, ["ap-southeast-1", "eu-west-1", "us-east-1"]);
    assert_eq!(
        topology.zones[0].records.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "gslb.example.com. 3600 IN SOA ns1.example.com. hostmaster.example.com. 7 3600 900 604800 30",
            "gslb.example.com. 3600 IN NS ns1.example.com.",
            "gslb.example.com. 3600 IN NS ns2.example.com.",
            "gslb.example.com. 300 IN TXT \"portolan\"",
        ]
    );
    assert_eq!(plan.data_groups.len(), 1);
    assert_eq!(digest.len(), 64);
}

#[test]
fn the_seed_plan_resolves_with_defaults() {
    let LoadedPlan { plan, topology, warnings, .. } = loaded(&file("plan-seed.yaml"));
    assert_eq!((plan.version, plan.revision, plan.name), (1, 0, None));
    assert_eq!((topology.regions.len(), topology.services.len()), (3, 0));
    let shown: Vec<String> = warnings.list.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
    // Each promise of the seed that cannot be kept as it stands is said.
    for expected in [
        "regions.eu-west-1.network_config.subnet_ranges[0]: 10.0.0.0/16 overlaps",
        "disaster_recovery.backup_strategy.conversation_data.frequency: backups taken hourly cannot meet the rpo_target of 1h alone",
        "disaster_recovery.failover_automation.notification_channels[0]: the channel `slack` has no target",
        "rollback_triggers[0]: `error_rate` has no signal",
    ] {
        assert!(shown.iter().any(|line| line.contains(expected)), "{expected} is missing in {shown:#?}");
    }
}

#[test]
fn a_digest_changes_with_the_meaning_only() {
    let text = file("plan.yaml");
    let digest = |text: &str| loaded(text).digest;
    assert_eq!(digest(&text), digest(&format!("# a comment\n{}", text.replace("min: 5s, max: 60s", "min:   5s,   max: 60s"))));
    assert_ne!(digest(&text), digest(&text.replace("min: 5s, max: 60s", "min: 6s, max: 60s")));
}

#[test]
fn the_examples_fit_their_schemas() {
    let plan_schema = jsonschema::validator_for(&portolan_core::plan::schema()).unwrap();
    let node_schema = jsonschema::validator_for(&node::schema()).unwrap();
    for (name, schema) in [("plan.yaml", &plan_schema), ("plan-seed.yaml", &plan_schema), ("node.yaml", &node_schema)] {
        let value = to_json(&file(name)).unwrap();
        let problems: Vec<String> = schema.iter_errors(&value).map(|problem| format!("{}: {problem}", problem.instance_path())).collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
    }
}

#[test]
fn every_key_of_the_schemas_is_explained() {
    for schema in [portolan_core::plan::schema(), node::schema()] {
        for (section, definition) in schema["$defs"].as_object().unwrap() {
            assert!(definition["description"].as_str().is_some_and(|docs| docs.len() > 5), "{section}");
            for (key, property) in definition["properties"].as_object().unwrap() {
                assert!(property["description"].as_str().is_some_and(|docs| docs.ends_with('.')), "{section}.{key}");
            }
        }
    }
}

#[test]
fn what_is_shown_of_a_plan_is_that_plan() {
    use portolan_core::document::Decode as _;
    for name in ["plan.yaml", "plan-seed.yaml"] {
        let first = loaded(&file(name));
        let shown = serde_json::to_string_pretty(&first.plan.to_json()).unwrap();
        // JSON is YAML; the order of tables may differ, the plan may not.
        assert_eq!(loaded(&shown).plan.to_json(), first.plan.to_json(), "{name}");
    }
}

#[test]
fn layers_of_health_checks_go_over_one_another() {
    let text = "
regions: { a: { latitude: 1.0, longitude: 1.0 }, b: { latitude: 2.0, longitude: 2.0 } }
traffic_routing:
  a: { health_checks: { path: /a, interval: 1s } }
  b: { health_checks: { path: /b } }
health_check_defaults: { fall: 5, expect: { status: 204 } }
checks:
  door: { type: tcp, address: gate.example.net:22, interval: 500ms }
  beat: { type: heartbeat, name: batch.example }
  any: { type: calculated, of: [door, beat], require: any }
zones: { example.com: { nameservers: [ns1.example.net, ns2.example.net], contact: a@example.net } }
services:
  s:
    hostnames: [s.example.com]
    health_checks: { rise: 7 }
    traffic_routing: { b: { weight: 9, health_checks: { type: https, port: 8443, server_name: s.example.com } } }
    endpoints:
      a:
        - { address: 192.0.2.1 }
        - { address: 192.0.2.2, health_checks: { type: dns, name: probe.example, expect: 192.0.2.9 } }
        - { address: 192.0.2.3, health_checks: { use: any } }
      b: [{ target: b.example.net, port: 8080 }]
";
    let topology = loaded(text).topology;
    let check = |i: usize| &topology.checks[topology.endpoints[i].check.get()];
    let ProbeKind::Http { path, expect, tls: None, .. } = &check(0).probe.kind else { panic!("{:?}", check(0)) };
    assert_eq!((path.as_str(), expect.status.as_slice()), ("/a", [(204, 204)].as_slice()));
    let cadence = &check(0).probe.cadence;
    // The defaults of the other intervals give way to the short one.
    assert_eq!(
        (cadence.interval, cadence.fast_interval, cadence.down_interval, cadence.timeout),
        (Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(1))
    );
    assert_eq!((cadence.fall, cadence.rise), (5, 7));
    let ProbeKind::Dns { name, expect, .. } = &check(1).probe.kind else { panic!("{:?}", check(1)) };
    assert_eq!((name.to_string().as_str(), expect.as_deref()), ("probe.example", Some("192.0.2.9")));
    assert_eq!(topology.endpoints[2].check, topology.check_names[&"any".into()]);
    let ProbeKind::Calculated { of, at_least: 1 } = &check(2).probe.kind else { panic!("{:?}", check(2)) };
    assert_eq!(of.as_slice(), [topology.check_names[&"door".into()], topology.check_names[&"beat".into()]]);
    let ProbeKind::Http { path, tls: Some(tls), .. } = &check(3).probe.kind else { panic!("{:?}", check(3)) };
    assert_eq!((path.as_str(), tls.server_name.as_deref()), ("/b", Some("s.example.com")));
    let address = check(3).address.as_ref().unwrap();
    assert!(matches!(&address.host, Host::Name(name) if name.to_string() == "b.example.net") && address.port == 8443);
    assert_eq!(topology.services[0].pools[1].weight.0, 9);
}

#[test]
fn link_local_targets_need_the_node_configs_word() {
    let text = file("plan.yaml").replace("address: 198.51.100.10,", "address: 169.254.7.7,");
    assert!(plan::load(&text, "plan.yaml", &plan::Options::default()).is_err());
    let options = plan::Options { allowed_targets: vec!["169.254.7.0/24".parse().unwrap()], ..plan::Options::default() };
    assert!(plan::load(&text, "plan.yaml", &options).is_ok());
}

#[test]
fn zone_files_are_named_first_and_their_records_checked_with_the_rest() {
    let text = file("plan.yaml").replace("    negative_ttl: 30s", "    negative_ttl: 30s\n    file: gslb.zone");
    let apex: portolan_core::model::name::Name = "gslb.example.com".parse().unwrap();
    assert_eq!(plan::zone_files(&text, "plan.yaml").unwrap(), [(apex.clone(), "gslb.zone".to_owned())]);
    let record = |owner: &str| portolan_core::model::record::Record {
        owner: owner.parse().unwrap(),
        ttl: portolan_core::model::units::Ttl::from_secs(60),
        data: portolan_core::model::record::RecordData::A([192, 0, 2, 1].into()),
    };
    let load = |owner: &str| {
        let zone_records = BTreeMap::from([(apex.clone(), vec![record(owner)])]);
        plan::load(&text, "plan.yaml", &plan::Options { zone_records, ..plan::Options::default() })
    };
    assert_eq!(load("www.gslb.example.com").unwrap().topology.zones[0].records.len(), 5);
    let problems = load("api.gslb.example.com").unwrap_err();
    assert!(
        problems.list.iter().any(|problem| problem.severity == Severity::Error && problem.path == "services.api.hostnames[0]"),
        "{problems}"
    );
}

#[test]
fn the_environment_overrides_who_a_node_is() {
    let text = file("node.yaml");
    let load = |variables: &[(&str, &str)]| {
        node::load(&text, "node.yaml", &variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect())
    };
    let plain = load(&[]).unwrap();
    assert_eq!((plain.node.as_str(), plain.region.as_str(), plain.role), ("use1-a", "us-east-1", node::Role::Voter));
    let other = load(&[("PORTOLAN_NODE", "euw1-b"), ("PORTOLAN_REGION", "eu-west-1")]).unwrap();
    assert_eq!((other.node.as_str(), other.region.as_str(), other.role), ("euw1-b", "eu-west-1", node::Role::Observer));
    let problems = load(&[("PORTOLAN_ROLE", "obsever"), ("PORTOLAN_NODE", "A B")]).unwrap_err();
    assert_eq!(problems.errors(), 2, "{problems}");
    assert!(problems.to_string().contains("did you mean `observer`?"), "{problems}");
}

#[test]
fn a_node_on_its_own_needs_little() {
    let loaded =
        node::load("node: a\nregion: r\nplan: plan.yaml\n", "node.yaml", &BTreeMap::new()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.listen.control, Some("127.0.0.1:8443".parse().unwrap()));
    assert_eq!((loaded.role, loaded.warnings.list.len()), (node::Role::Voter, 0));
}

#[test]
fn problems_are_shown_like_a_compilers() {
    let problems = plan::load("regions:\n  a: { latitud: 1.5 }\n", "p.yaml", &plan::Options::default()).unwrap_err();
    let expected = "\
p.yaml:2:8: error: regions.a.latitud: unknown key `latitud`
  |
2 |   a: { latitud: 1.5 }
  |        ^^^^^^^
  = fix: did you mean `latitude`?
";
    assert_eq!(problems.to_string(), expected);
    assert_eq!(problems.to_json()["list"][0]["line"], 2);
}

/// What the comments at the end of the example say may be written.
#[test]
fn further_keys_are_taken_without_a_warning() {
    let text = r#"
regions:
  us-east-1: { latitude: 38.9, longitude: -77.4, jurisdiction: us }
  eu-west-1: { latitude: 53.3, longitude: -6.3, jurisdiction: eu }
signals: { sources: { metrics: { prometheus: "http://prometheus:9090" } } }
checks:
  gate: { type: tcp, address: gate.example.net:22, interval: 500ms, timeout: 250ms, fall: 2, flap: { window: 0s } }
  batch: { type: heartbeat, name: batch.example }
  load: { type: prometheus, source: metrics, query: 'sum(rate(errors_total[1m]))', below: 5 }
  both: { type: calculated, of: [gate, batch], require: all }
  web: { type: https, address: 192.0.2.7:443, method: HEAD, host: a.example, headers: { X-Probe: "1" }, expect: { status: "200-299, 404" }, verify: false, ca: own-ca }
  body: { type: http, address: 192.0.2.7:80, expect: { status: 200, body: { json: /db, equals: up } } }
  chain: { type: tls, address: 192.0.2.7:443, server_name: a.example, valid_for: 14d }
  rpc: { type: grpc, address: 192.0.2.7:50051, service: shop.v1.Cart, tls: true }
  resolver: { type: dns, address: 192.0.2.7:53, name: a.example, record_type: AAAA, expect: "2001:db8::1" }
zones:
  example.com:
    nameservers: [ns1.example.net, ns2.example.net]
    contact: hostmaster.example.net
    ttl: 10m
    refresh: 2h
    records:
      - { name: www, type: CNAME, values: [api] }
      - { name: sub, type: NS, values: [ns.sub] }
      - { name: ns.sub, type: A, values: [192.0.2.53] }
services:
  api:
    hostnames: [api.example.com]
    stages: [latency, priority, weight]
    limit: 4
    spread: random
    families: independent
    all_down: backup
    backup: [192.0.2.99]
    slow_start: { share: 20%, for: 5m, ramp: true }
    residency: { mode: prefer, jurisdictions: { EU: [eu], CH: [eu] }, otherwise: [eu, us] }
    traffic_routing: { us-east-1: { weight: 5, priority: 2, health_checks: { port: 8080 } } }
    endpoints:
      us-east-1: [{ target: lb.example.net, port: 443, weight: 1, health_checks: { type: none } }]
      eu-west-1: [{ address: 192.0.2.1, health_checks: { use: both } }]
"#;
    let LoadedPlan { topology, warnings, .. } = loaded(text);
    assert_eq!(warnings.to_string(), "");
    let service = &topology.services[0];
    assert_eq!(
        (service.steering.preset, service.steering.stages.as_slice()),
        ("stages", [Stage::Latency, Stage::Priority, Stage::Weight].as_slice())
    );
    assert!(service.slow_start.ramp && service.steering.residency.as_ref().is_some_and(|fence| fence.otherwise.is_some()));
    assert_eq!(topology.checks[topology.endpoints[0].check.get()].probe.kind, ProbeKind::None);
    assert_eq!(topology.zones[0].records.len(), 6);
    assert_eq!(topology.check_names.len(), 9);
}

#[test]
fn what_is_to_be_shown_is_as_written_or_built_in() {
    let told = |text: &str, region: &str| -> Vec<String> {
        let plan = loaded(text).plan;
        let group = plan.data_groups.keys().next().cloned().unwrap_or_else(|| "none".into());
        let steps = portolan_core::plan::validation(&plan, &group, &region.into());
        let one = |step: &ValidationStep| {
            let means = match &step.means {
                Means::Http(check) => format!("{} {:?}", check.address.as_ref().unwrap(), check.probe.kind),
                Means::Triggers(triggers) => {
                    let known = |it: &Trigger| format!("{} {}", it.text, if it.figure.is_some() { "known" } else { "unknown" });
                    triggers.iter().map(known).collect::<Vec<_>>().join(", ")
                }
                Means::Figure(trigger, lasting) => {
                    format!("{} {:?} for {lasting:?}", trigger.limit.value(), trigger.figure.as_ref().unwrap())
                }
                means => format!("{means:?}"),
            };
            format!("{} {}s: {means}", step.name, step.timeout.as_secs())
        };
        steps.iter().map(one).collect()
    };
    let written = told(&file("plan.yaml"), "eu-west-1");
    assert_eq!(written[0], "verify_data_integrity 30s: Sql(\"select count(*) > 0 from orders\")");
    assert!(written[1].starts_with("test_agent_functionality 10s: 192.0.2.50:80 Http { tls: None,"), "{}", written[1]);
    assert!(written[1].contains("path: \"/selftest\"") && written[1].contains("status: [(200, 200)]"), "{}", written[1]);
    let (limit, query) =
        ("validate_performance_metrics 60s: 2 Figure { url: \"http://prometheus.monitoring:9090\"", "region=\\\"eu-west-1\\\"");
    assert!(written[2].starts_with(limit) && written[2].contains(query) && written[2].ends_with("for 60s"), "{}", written[2]);
    let built_in = [
        "verify_data_integrity 60s: Integrity",
        "test_agent_functionality 60s: Services",
        "validate_performance_metrics 60s: error_rate > 5% unknown, latency_p95 > 2s unknown, availability < 99% unknown",
    ];
    assert_eq!(told(&file("plan-seed.yaml"), "eu-west-1"), built_in);
    let trigger = |above| Trigger { text: String::new(), figure: None, above, limit: portolan_core::model::check::Decimal(50_000) };
    assert_eq!((trigger(true).fires(0.051), trigger(true).fires(0.05), trigger(false).fires(0.04)), (Some(true), Some(false), Some(true)));
    assert_eq!(trigger(true).fires(f64::NAN), None, "no data neither fires nor passes");
}
