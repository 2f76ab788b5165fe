//! The least role of every method: one table, so that who reads it knows who may what.

use portolan_core::cluster::Role;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Tells what was seen.
    Observation,
    /// Changes what is agreed, or who agrees. Logged with who and outcome.
    Change,
}

/// One method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Service and method, as in a path: `portolan.v1.StatusService/GetStatus`.
    pub name: &'static str,
    /// The least role; `None`: whoever may open the connection.
    pub least: Option<Role>,
    /// What it does.
    pub kind: Kind,
}

const fn open(name: &'static str) -> Method {
    Method { name, least: None, kind: Kind::Read }
}

const fn read(name: &'static str) -> Method {
    Method { name, least: Some(Role::Viewer), kind: Kind::Read }
}

const fn change(name: &'static str, least: Role) -> Method {
    Method { name, least: Some(least), kind: Kind::Change }
}

/// Every method that is served, by name.
pub const METHODS: [Method; 82] = [
    open("grpc.health.v1.Health/Check"),
    open("grpc.health.v1.Health/Watch"),
    read("grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    read("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    open("portolan.v1.AccessService/CanI"),
    open("portolan.v1.AccessService/WhoAmI"),
    change("portolan.v1.AcknowledgementService/CreateAcknowledgement", Role::Operator),
    read("portolan.v1.AcknowledgementService/ListAcknowledgements"),
    read("portolan.v1.AuditService/ExportAudit"),
    read("portolan.v1.AuditService/ListAuditEntries"),
    read("portolan.v1.AuditService/VerifyAudit"),
    change("portolan.v1.ClusterService/AddMember", Role::Admin),
    // The whole state in one stream; a read, but not everybody's.
    Method { name: "portolan.v1.ClusterService/Backup", least: Some(Role::Admin), kind: Kind::Read },
    change("portolan.v1.ClusterService/Bootstrap", Role::Admin),
    change("portolan.v1.ClusterService/ForceQuorum", Role::Breakglass),
    read("portolan.v1.ClusterService/GetCluster"),
    read("portolan.v1.ClusterService/ListMembers"),
    change("portolan.v1.ClusterService/RemoveMember", Role::Admin),
    change("portolan.v1.ClusterService/ReplaceMember", Role::Admin),
    change("portolan.v1.ClusterService/TransferLeader", Role::Admin),
    read("portolan.v1.DnsService/PreviewAnswer"),
    // What cuts off or moves a primary is for an approver to say; the service asks.
    change("portolan.v1.DrillService/CancelDrill", Role::Operator),
    change("portolan.v1.DrillService/CreateDrillSchedule", Role::Operator),
    change("portolan.v1.DrillService/DeleteDrillSchedule", Role::Operator),
    read("portolan.v1.DrillService/GetDrill"),
    read("portolan.v1.DrillService/ListDrills"),
    change("portolan.v1.DrillService/StartDrill", Role::Operator),
    change("portolan.v1.EvacuationService/CancelEvacuation", Role::Operator),
    read("portolan.v1.EvacuationService/ListEvacuations"),
    change("portolan.v1.EvacuationService/StartEvacuation", Role::Operator),
    read("portolan.v1.EvacuationService/WatchEvacuation"),
    read("portolan.v1.EventService/ListEvents"),
    read("portolan.v1.EventService/WatchEvents"),
    read("portolan.v1.ExplainService/Why"),
    change("portolan.v1.FreezeService/CreateFreeze", Role::Operator),
    change("portolan.v1.FreezeService/DeleteFreeze", Role::Operator),
    read("portolan.v1.FreezeService/ListFreezes"),
    // A heartbeat can take an endpoint out for everybody, or bring it back: what an operator's orders do. A job that beats gets a binding of its
    // own in `auth.roles`, so that its certificate or token can be taken back alone.
    Method { name: "portolan.v1.HeartbeatService/Beat", least: Some(Role::Operator), kind: Kind::Observation },
    read("portolan.v1.OperationService/GetOperation"),
    read("portolan.v1.OperationService/GetReport"),
    read("portolan.v1.OperationService/ListOperations"),
    read("portolan.v1.OperationService/RehearseOperation"),
    read("portolan.v1.OperationService/WatchOperation"),
    change("portolan.v1.OverrideService/CreateOverride", Role::Operator),
    change("portolan.v1.OverrideService/DeleteOverride", Role::Operator),
    read("portolan.v1.OverrideService/GetOverride"),
    read("portolan.v1.OverrideService/ListOverrides"),
    change("portolan.v1.PlanService/ApplyPlan", Role::Admin),
    read("portolan.v1.PlanService/DiffPlan"),
    read("portolan.v1.PlanService/GetPlan"),
    read("portolan.v1.PlanService/ValidatePlan"),
    change("portolan.v1.RecoveryService/AdoptGroup", Role::Approver),
    change("portolan.v1.RecoveryService/ApproveOperation", Role::Approver),
    change("portolan.v1.RecoveryService/AssertFenced", Role::Approver),
    change("portolan.v1.RecoveryService/CancelOperation", Role::Operator),
    read("portolan.v1.RecoveryService/GetOutlook"),
    read("portolan.v1.RecoveryService/ListBackups"),
    read("portolan.v1.RecoveryService/ListGroups"),
    change("portolan.v1.RecoveryService/RejectOperation", Role::Approver),
    // That a directory is removed is for an approver to say; the service asks.
    change("portolan.v1.RecoveryService/RejoinMember", Role::Operator),
    change("portolan.v1.RecoveryService/ReleaseCoolDown", Role::Operator),
    change("portolan.v1.RecoveryService/RetryStep", Role::Operator),
    change("portolan.v1.RecoveryService/SkipStep", Role::Approver),
    change("portolan.v1.RecoveryService/StartFailback", Role::Operator),
    // What may be lost beyond the plan, and that a primary is stopped, is for an approver to say; the service asks.
    change("portolan.v1.RecoveryService/StartFailover", Role::Operator),
    change("portolan.v1.RecoveryService/StartSwitchover", Role::Operator),
    // What it may lose is judged by the plan, or by an approver.
    change("portolan.v1.RecoveryService/TurnOperation", Role::Operator),
    change("portolan.v1.ReturnService/AdvanceReturn", Role::Operator),
    change("portolan.v1.ReturnService/CancelReturn", Role::Operator),
    read("portolan.v1.ReturnService/ListReturns"),
    change("portolan.v1.ReturnService/StartReturn", Role::Operator),
    read("portolan.v1.ReturnService/WatchReturn"),
    read("portolan.v1.SimulateService/Simulate"),
    read("portolan.v1.StatusService/GetStatus"),
    read("portolan.v1.StatusService/WatchStatus"),
    read("portolan.v1.TrafficService/GetEndpoint"),
    read("portolan.v1.TrafficService/GetRegion"),
    read("portolan.v1.TrafficService/GetService"),
    read("portolan.v1.TrafficService/ListEndpoints"),
    read("portolan.v1.TrafficService/ListRegions"),
    read("portolan.v1.TrafficService/ListServices"),
    read("portolan.v1.TrafficService/ListZones"),
];

/// The method behind a path, with or without its leading slash; `None`: there is none.
#[must_use]
pub fn find(path: &str) -> Option<&'static Method> {
    let name = path.strip_prefix('/').unwrap_or(path);
    METHODS.binary_search_by(|method| method.name.cmp(name)).ok().map(|i| &METHODS[i])
}

/// The one method of ours that ends so: `CreateOverride`, or the whole name.
#[must_use]
pub fn find_by_end(end: &str) -> Option<&'static Method> {
    let is_it = |method: &&Method| method.name.rsplit('/').next() == Some(end);
    find(end).or_else(|| METHODS.iter().find(is_it))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::api::proto;

    #[test]
    fn every_method_of_the_descriptors_has_its_least_role_and_nothing_else_has() {
        let mut pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
        pool.decode_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET).unwrap();
        pool.decode_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET).unwrap();
        let served: BTreeSet<String> = pool
            .services()
            .flat_map(|service| service.methods().map(|method| format!("{}/{}", service.full_name(), method.name())).collect::<Vec<_>>())
            .collect();
        let listed: BTreeSet<String> = METHODS.iter().map(|method| method.name.to_owned()).collect();
        assert_eq!(listed.len(), METHODS.len(), "one entry each");
        assert_eq!(served, listed);
    }

    #[test]
    fn the_table_is_in_order_so_that_it_can_be_searched() {
        assert!(METHODS.is_sorted_by_key(|method| method.name));
        for method in METHODS {
            assert_eq!(find(&format!("/{}", method.name)), Some(&method));
            assert_eq!(find(method.name), Some(&method));
        }
        assert_eq!(find("/portolan.v1.OverrideService/Nothing"), None);
        assert_eq!(find("//portolan.v1.StatusService/GetStatus"), None);
    }

    #[test]
    fn what_changes_something_is_never_for_viewers() {
        for method in METHODS {
            let words = [
                "Create",
                "Delete",
                "Apply",
                "Add",
                "Remove",
                "Replace",
                "Transfer",
                "Force",
                "Beat",
                "Bootstrap",
                "Adopt",
                "Advance",
                "Approve",
                "Cancel",
                "Start",
                "Assert",
                "Reject",
                "Rejoin",
                "Retry",
                "Skip",
                "Turn",
                "Release",
            ];
            let end = method.name.rsplit('/').next().unwrap();
            let is_change = words.iter().any(|word| end.starts_with(word));
            assert_eq!(is_change, method.kind != Kind::Read, "{}", method.name);
            assert!(!is_change || method.least >= Some(Role::Operator), "{}", method.name);
        }
    }

    #[test]
    fn ends_are_found_and_are_unique_among_ours() {
        assert_eq!(find_by_end("CreateOverride").unwrap().name, "portolan.v1.OverrideService/CreateOverride");
        assert_eq!(find_by_end("portolan.v1.StatusService/GetStatus").unwrap().least, Some(Role::Viewer));
        assert_eq!(find_by_end("Nothing"), None);
        let ends: Vec<_> =
            METHODS.iter().filter(|method| method.name.starts_with("portolan.")).map(|method| method.name.rsplit('/').next()).collect();
        assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), ends.len());
    }
}
