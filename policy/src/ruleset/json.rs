//! The ruleset as libnftables' JSON, by way of the `nftables` crate's types.

use std::collections::HashSet;
use std::net::IpAddr;

use nftables::batch::Batch;
use nftables::expr::{CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Range, SetItem};
use nftables::schema::{self, FlushObject, NfCmd, NfListObject, Nftables, SetFlag, SetType, SetTypeValue};
use nftables::stmt::{self, JumpTarget, Operator, Statement, VerdictMap};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use super::{
    Chain, Elements, End, Family, Hook, Match, NEIGHBOUR_DISCOVERY, OVERLAY_INTERFACE_PREFIX, POD_INTERFACE_PREFIX,
    Rule, Ruleset, Set, Side, Steps, TABLE, Verdict, protocol_name,
};

impl Ruleset {
    /// The transaction that replaces whatever is in the table by this: nft commits it whole or not at all.
    pub(crate) fn replacement(&self) -> Nftables<'static> {
        let mut batch = Batch::new();
        // Added first, so that deleting it is no error when it is not there.
        batch.add(table());
        batch.delete(table());
        batch.add(table());
        for set in &self.sets {
            batch.add(NfListObject::Set(Box::new(set_object(set))));
        }
        // All chains before the first rule: a rule names the chain that it jumps to.
        for chain in &self.chains {
            batch.add(NfListObject::Chain(chain_object(chain)));
        }
        for chain in &self.chains {
            for rule in &chain.rules {
                batch.add(NfListObject::Rule(rule_object(chain, rule)));
            }
        }
        batch.to_nftables()
    }
}

/// The transaction that takes these steps.
pub(crate) fn transaction(steps: &Steps<'_>) -> Nftables<'static> {
    let mut batch = Batch::new();
    for set in &steps.new_sets {
        batch.add(NfListObject::Set(Box::new(set_object(set))));
    }
    for change in &steps.members {
        let object = |elements: &Elements| {
            NfListObject::Element(schema::Element {
                family: NfFamily::INet,
                table: TABLE.into(),
                name: change.set.clone().into(),
                elem: element_expressions(elements).into(),
            })
        };
        if !change.removed.is_empty() {
            batch.delete(object(&change.removed));
        }
        if !change.added.is_empty() {
            batch.add(object(&change.added));
        }
    }
    for chain in &steps.new_chains {
        batch.add(NfListObject::Chain(chain_object(chain)));
    }
    for name in &steps.emptied_chains {
        batch.add_cmd(NfCmd::Flush(FlushObject::Chain(named_chain(name))));
    }
    for chain in &steps.written_chains {
        for rule in &chain.rules {
            batch.add(NfListObject::Rule(rule_object(chain, rule)));
        }
    }
    for name in &steps.old_chains {
        batch.delete(NfListObject::Chain(named_chain(name)));
    }
    for name in &steps.old_sets {
        batch.delete(NfListObject::Set(Box::new(schema::Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: (*name).to_owned().into(),
            ..schema::Set::default()
        })));
    }
    batch.to_nftables()
}

fn named_chain(name: &str) -> schema::Chain<'static> {
    schema::Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.to_owned().into(),
        ..schema::Chain::default()
    }
}

/// The transaction that leaves nothing of ours.
pub(crate) fn removal() -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add(table());
    batch.delete(table());
    batch.to_nftables()
}

fn table() -> NfListObject<'static> {
    NfListObject::Table(schema::Table { family: NfFamily::INet, name: TABLE.into(), handle: None })
}

fn set_object(set: &Set) -> schema::Set<'static> {
    let address = match set.family {
        Some(Family::V4) => SetType::Ipv4Addr,
        Some(Family::V6) => SetType::Ipv6Addr,
        None => SetType::InetService,
    };
    let set_type = match &set.elements {
        Elements::Sources(_) => SetTypeValue::Concatenated(vec![SetType::Ifname, address].into()),
        Elements::Addresses(_) | Elements::Blocks(_) | Elements::Ports(_) => SetTypeValue::Single(address),
        Elements::NamedPorts(_) => SetTypeValue::Concatenated(vec![address, SetType::InetService].into()),
    };
    let elements = element_expressions(&set.elements);
    schema::Set {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: set.name.clone().into(),
        set_type,
        flags: set.elements.are_ranges().then(|| HashSet::from([SetFlag::Interval])),
        elem: (!elements.is_empty()).then(|| elements.into()),
        comment: Some(set.comment.clone().into()),
        ..schema::Set::default()
    }
}

fn element_expressions(elements: &Elements) -> Vec<Expression<'static>> {
    let pair = |a, b| Expression::Named(NamedExpression::Concat(vec![a, b]));
    match elements {
        Elements::Sources(pairs) => {
            pairs.iter().map(|(name, address)| pair(word(name.clone()), address_expression(*address))).collect()
        }
        Elements::Addresses(addresses) => addresses.iter().map(|a| address_expression(*a)).collect(),
        Elements::Blocks(ranges) => ranges.iter().map(|&(first, last)| address_range(first, last)).collect(),
        Elements::Ports(ranges) => ranges.iter().map(|&(first, last)| port_range(first, last)).collect(),
        Elements::NamedPorts(pairs) => pairs
            .iter()
            .map(|&(address, port)| pair(address_expression(address), Expression::Number(u32::from(port))))
            .collect(),
    }
}

fn chain_object(chain: &Chain) -> schema::Chain<'static> {
    schema::Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: chain.name.clone().into(),
        _type: chain.hook.map(|_| NfChainType::Filter),
        hook: chain.hook.map(|hook| match hook {
            Hook::ForwardEgress | Hook::ForwardIngress => NfHook::Forward,
            Hook::InputEgress => NfHook::Input,
        }),
        prio: chain.hook.map(Hook::priority),
        policy: chain.hook.map(|_| NfChainPolicy::Accept),
        ..schema::Chain::default()
    }
}

fn rule_object(chain: &Chain, rule: &Rule) -> schema::Rule<'static> {
    let mut statements: Vec<Statement<'static>> = rule.matches.iter().flat_map(match_statements).collect();
    statements.push(verdict_statement(&rule.verdict));
    schema::Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: chain.name.clone().into(),
        expr: statements.into(),
        comment: rule.comment.clone().map(Into::into),
        ..schema::Rule::default()
    }
}

fn match_statements(r#match: &Match) -> Vec<Statement<'static>> {
    let (left, op, right) = match r#match {
        Match::PodInterface(side) => {
            let compare = |op, prefix| {
                Statement::Match(stmt::Match { left: interface(*side), right: word(format!("{prefix}*")), op })
            };
            return vec![compare(Operator::EQ, POD_INTERFACE_PREFIX), compare(Operator::NEQ, OVERLAY_INTERFACE_PREFIX)];
        }
        Match::ForeignSource { family, set } => (
            Expression::Named(NamedExpression::Concat(vec![interface(Side::In), field(header(*family), "saddr")])),
            Operator::NEQ,
            set_reference(set),
        ),
        Match::Established => (
            Expression::Named(NamedExpression::CT(CT { key: "state".into(), family: None, dir: None })),
            Operator::IN,
            Expression::List(vec![word("established"), word("related")]),
        ),
        Match::NeighbourDiscovery => {
            (field("icmpv6", "type"), Operator::EQ, anonymous_set(NEIGHBOUR_DISCOVERY.iter().map(|name| word(*name))))
        }
        Match::Address { end, family, set } => {
            (field(header(*family), end_field(*end)), Operator::EQ, set_reference(set))
        }
        Match::Transport(protocol) => (
            Expression::Named(NamedExpression::Meta(Meta { key: MetaKey::L4proto })),
            Operator::EQ,
            word(protocol_name(*protocol)),
        ),
        Match::Within { end, first, last } => {
            (field(header(Family::of(*first)), end_field(*end)), Operator::EQ, address_range(*first, *last))
        }
        Match::Port { protocol, first, last } => {
            (field(protocol_name(*protocol), "dport"), Operator::EQ, port_range(*first, *last))
        }
        Match::Ports { protocol, set } => (field(protocol_name(*protocol), "dport"), Operator::EQ, set_reference(set)),
        Match::NamedPort { protocol, family, set } => (
            Expression::Named(NamedExpression::Concat(vec![
                field(header(*family), "daddr"),
                field(protocol_name(*protocol), "dport"),
            ])),
            Operator::EQ,
            set_reference(set),
        ),
    };
    vec![Statement::Match(stmt::Match { left, right, op })]
}

fn verdict_statement(verdict: &Verdict) -> Statement<'static> {
    match verdict {
        Verdict::Accept => Statement::Accept(None),
        Verdict::Drop => Statement::Drop(None),
        Verdict::Jump(chain) => Statement::Jump(JumpTarget { target: chain.clone().into() }),
        Verdict::Goto(chain) => Statement::Goto(JumpTarget { target: chain.clone().into() }),
        Verdict::Dispatch(side, targets) => Statement::VerdictMap(VerdictMap {
            key: interface(*side),
            data: Expression::Named(NamedExpression::Set(
                targets
                    .iter()
                    .map(|(name, chain)| {
                        let target = JumpTarget { target: chain.clone().into() };
                        SetItem::Mapping(word(name.clone()), Expression::Verdict(nftables::expr::Verdict::Goto(target)))
                    })
                    .collect(),
            )),
        }),
    }
}

fn interface(side: Side) -> Expression<'static> {
    let key = match side {
        Side::In => MetaKey::Iifname,
        Side::Out => MetaKey::Oifname,
    };
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn field(protocol: &'static str, name: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: name.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn end_field(end: End) -> &'static str {
    match end {
        End::Source => "saddr",
        End::Destination => "daddr",
    }
}

fn address_range(first: IpAddr, last: IpAddr) -> Expression<'static> {
    range(first == last, address_expression(first), address_expression(last))
}

fn port_range(first: u16, last: u16) -> Expression<'static> {
    range(first == last, Expression::Number(u32::from(first)), Expression::Number(u32::from(last)))
}

fn address_expression(address: IpAddr) -> Expression<'static> {
    word(address.to_string())
}

fn word(text: impl Into<std::borrow::Cow<'static, str>>) -> Expression<'static> {
    Expression::String(text.into())
}

/// nft takes a range of one for an error.
fn range(single: bool, first: Expression<'static>, last: Expression<'static>) -> Expression<'static> {
    if single { first } else { Expression::Range(Box::new(Range { range: [first, last] })) }
}

fn anonymous_set(items: impl Iterator<Item = Expression<'static>>) -> Expression<'static> {
    Expression::Named(NamedExpression::Set(items.map(SetItem::Element).collect()))
}

fn set_reference(name: &str) -> Expression<'static> {
    word(format!("@{name}"))
}
