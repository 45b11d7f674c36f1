//! Pods through the real daemon: reached from a real router, kept across kill -9, and gone without a trace. Needs root.

mod support;

use std::fs;

use linnet_api::{EndpointAddRequest, EndpointListRequest, EndpointRemoveRequest};
use support::{Namespace, Rack, shown, wait_for_both_sides};

/// An endpoint of this name in this namespace, at these addresses.
fn wish(name: &str, pod: &Namespace, addresses: &[&str]) -> EndpointAddRequest {
    EndpointAddRequest {
        name: name.to_owned(),
        netns: pod.name.clone(),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        ..EndpointAddRequest::default()
    }
}

#[tokio::test]
async fn a_pod_is_reached_survives_kill_9_and_leaves_nothing() {
    let rack = Rack::new("");
    rack.configure("", "");
    let daemon = rack.start();
    wait_for_both_sides(&rack);
    let pod = Namespace::new("p");
    let before = rack.host.linnet_state();
    let request = wish("web", &pod, &["10.244.1.2", "fd00:244:1::2"]);
    let mut endpoints = rack.endpoints().await;
    let added = endpoints.add(request.clone()).await.unwrap_or_else(|error| panic!("{error}\n{}", rack.dump()));
    let added = added.into_inner().endpoint.unwrap();
    assert_eq!((added.name.as_str(), added.state.as_str()), ("default/web", "ready"), "{}", shown(&added));
    let ping = || rack.router.try_run("ping -c1 -W1 -I 10.99.0.2 10.244.1.2").status.success().then_some(());
    rack.until("the router reaches the pod", ping);
    assert!(pod.try_run("ping -c1 -W2 10.99.0.2").status.success(), "{}", rack.dump());
    let again = endpoints.add(request.clone()).await.unwrap().into_inner().endpoint.unwrap();
    assert_eq!(again, added);
    let other = EndpointAddRequest { name: "other".into(), ..request };
    assert_eq!(endpoints.add(other).await.unwrap_err().code(), tonic::Code::AlreadyExists);

    daemon.signal("KILL");
    daemon.end();
    assert!(ping().is_some(), "the pod is reached while nobody is there\n{}", rack.dump());
    let _daemon = rack.start();
    let mut endpoints = rack.endpoints().await;
    let list = endpoints.list(EndpointListRequest {}).await.unwrap().into_inner().endpoints;
    assert_eq!(list, [added]);
    assert!(ping().is_some(), "{}", rack.dump());

    endpoints.remove(EndpointRemoveRequest { name: "default/web".into() }).await.unwrap();
    let unknown = endpoints.remove(EndpointRemoveRequest { name: "default/web".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    assert!(endpoints.list(EndpointListRequest {}).await.unwrap().into_inner().endpoints.is_empty());
    rack.until("nothing is left of the pod", || (rack.host.linnet_state() == before).then_some(()));
}

#[tokio::test]
async fn pods_and_their_interfaces_follow_the_mtu_of_the_underlay() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    let pods = [Namespace::new("p"), Namespace::new("p")];
    let mut endpoints = rack.endpoints().await;
    let uplink = "eth0";
    let mut interfaces = Vec::new();
    for (pod, address, mtu) in [(&pods[0], "10.244.1.2", 1500), (&pods[1], "10.244.1.3", 1400)] {
        rack.host.run(&format!("ip link set {uplink} mtu {mtu}"));
        let wanted = format!("mtu {} ", mtu - 50);
        rack.until("the overlay follows", || {
            rack.host.run("ip -o link show linnet.vxlan").contains(&wanted).then_some(())
        });
        let request = wish(&format!("web-{address}"), pod, &[address]);
        let added = endpoints.add(request).await.unwrap().into_inner().endpoint.unwrap();
        assert_eq!(added.mtu, mtu - 50, "{}", shown(&added));
        interfaces.push(added.interface);
        assert!(pod.run("ip -o link show eth0").contains(&wanted), "a new pod gets what fits\n{}", rack.dump());
    }
    for mtu in [1400, 9000] {
        rack.host.run(&format!("ip link set {uplink} mtu {mtu}"));
        let wanted = format!("mtu {} ", mtu - 50);
        rack.until(&format!("all interfaces follow to {mtu}"), || {
            let inside = pods.iter().all(|pod| pod.run("ip -o link show eth0").contains(&wanted));
            let outside =
                interfaces.iter().all(|name| rack.host.run(&format!("ip -o link show {name}")).contains(&wanted));
            (inside && outside).then_some(())
        });
        let listed = endpoints.list(EndpointListRequest {}).await.unwrap().into_inner().endpoints;
        let said: Vec<u32> = listed.iter().map(|endpoint| endpoint.mtu).collect();
        assert_eq!(said, [mtu - 50; 2], "{}", shown(&listed));
    }
}

#[tokio::test]
async fn without_an_overlay_a_pod_gets_the_smallest_mtu_of_the_default_routes_of_both_families() {
    let rack = Rack::new("");
    rack.configure("", "[overlay]\nmode = \"never\"");
    rack.host.run("ip link set eth0 mtu 1400");
    rack.host.run("ip addr add fd00:99::1/64 dev eth0 nodad");
    let _daemon = rack.start();
    let mut endpoints = rack.endpoints().await;
    let routes = [
        ("10.244.1.2", "ip -6 route add default via fd00:99::2 dev eth0", 1400),
        ("10.244.1.3", "ip route add default via 10.99.0.2 dev eth0 mtu 1300", 1300),
        ("10.244.1.4", "ip route change default via 10.99.0.2 dev eth0 mtu 1399", 1399),
        ("10.244.1.5", "ip -6 route change default via fd00:99::2 dev eth0 mtu 1350", 1350),
    ];
    let mut pods = Vec::new();
    for (address, change, mtu) in routes {
        rack.host.run(change);
        let pod = Namespace::new("p");
        let request = wish(&format!("web-{address}"), &pod, &[address]);
        let added = endpoints.add(request).await.unwrap().into_inner().endpoint.unwrap();
        assert_eq!(added.mtu, mtu, "after {change}\n{}", rack.dump());
        assert!(pod.run("ip -o link show eth0").contains(&format!("mtu {mtu} ")), "{}", rack.dump());
        pods.push(pod);
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_made_leaves_nothing() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let before = rack.host.linnet_state();
    let pod = Namespace::new("p");
    // The interface's name is taken in the pod: the step that makes it fails, after record and policy.
    pod.run("ip link add eth0 type veth peer name eth1");
    let request = wish("web", &pod, &["10.244.1.2"]);
    let mut endpoints = rack.endpoints().await;
    let error = endpoints.add(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::FailedPrecondition, "{error:?}");
    assert!(endpoints.list(EndpointListRequest {}).await.unwrap().into_inner().endpoints.is_empty());
    rack.until("nothing is left of the pod", || (rack.host.linnet_state() == before).then_some(()));
    let record = fs::read_to_string(rack.directory.join("state/endpoints.json")).unwrap();
    assert!(!record.contains("web"), "{record}");
}

#[tokio::test]
async fn a_pod_whose_interface_somebody_removed_or_whose_namespace_was_made_anew_is_reached_again() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    let pod = Namespace::new("p");
    let mut endpoints = rack.endpoints().await;
    let request = wish("web", &pod, &["10.244.1.2"]);
    let interface = endpoints.add(request).await.unwrap().into_inner().endpoint.unwrap().interface;
    let reached = || rack.host.try_run("ping -c1 -W1 10.244.1.2").status.success();
    assert!(reached(), "{}", rack.dump());
    let remake = format!("ip netns del {0}; ip netns add {0}", pod.name);
    for trouble in [format!("ip link del {interface}"), format!("ip link set {interface} down"), remake] {
        assert!(rack.host.command("sh").args(["-c", &trouble]).status().unwrap().success());
        rack.until("the pod is away", || (!reached()).then_some(()));
        rack.until(&format!("the pod is back after {trouble}"), || reached().then_some(()));
    }
}

#[tokio::test]
async fn a_pod_whose_namespace_goes_is_failed_with_the_reason_and_cleanup_takes_everything() {
    let rack = Rack::new("");
    rack.configure("", "");
    let daemon = rack.start();
    let (gone, stays) = (Namespace::new("p"), Namespace::new("p"));
    let mut endpoints = rack.endpoints().await;
    for (name, pod, address) in [("gone", &gone, "10.244.1.2"), ("stays", &stays, "10.244.1.3")] {
        let request = wish(name, pod, &[address]);
        endpoints.add(request).await.unwrap();
    }
    daemon.signal("KILL");
    daemon.end();
    drop(gone);
    let daemon = rack.start();
    let mut endpoints = rack.endpoints().await;
    let list = endpoints.list(EndpointListRequest {}).await.unwrap().into_inner().endpoints;
    let states: Vec<(&str, &str)> =
        list.iter().map(|endpoint| (endpoint.name.as_str(), endpoint.state.as_str())).collect();
    assert_eq!(states, [("default/gone", "failed"), ("default/stays", "ready")], "{}", shown(&list));
    assert!(list[0].error.contains("is gone"), "{}", shown(&list));
    endpoints.remove(EndpointRemoveRequest { name: "gone".into() }).await.unwrap();

    let refused = rack.linnetd(&["--cleanup"]);
    assert!(!refused.status.success(), "a daemon that runs would put everything back\n{}", shown(&refused));
    daemon.signal("TERM");
    assert!(daemon.end().success());
    let cleanup = rack.linnetd(&["--cleanup"]);
    assert!(cleanup.status.success(), "{}", shown(&cleanup));
    assert_eq!(rack.host.linnet_state(), Vec::<String>::new());
}
