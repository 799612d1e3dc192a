use core::fmt;

macro_rules! drop_reasons {
    ($($number:literal $variant:ident $name:literal $doc:literal),* $(,)?) => {
        /// Why a frame was not forwarded (forwarding.md 10.2). The number is the index of the counter and
        /// the byte in the drop log; the name is the one of `vr_drop_stats_req`, without its `vds_` prefix.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $doc] $variant = $number,)*
        }

        impl DropReason {
            /// Every reason, in the order of the numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant,)*];

            /// The name that utilities print.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

drop_reasons! {
    0 Invalid "invalid" "Placeholder.",
    1 Discard "discard" "Discard nexthop (the usual result of a route miss); composite without components.",
    2 Pull "pull" "Header longer than data; cannot make header contiguous.",
    3 InvalidIf "invalid_if" "Vif lookup failed (agent SWITCH, sub-interface parent, ARP reply on odd vif).",
    4 InvalidArp "invalid_arp" "ARP body too short or malformed, a verdict of DROP (forwarding.md 7.3), or ARP to be flooded from a service interface.",
    5 TrapNoIf "trap_no_if" "Trap requested, no agent vif.",
    6 NowhereToGo "nowhere_to_go" "Pipeline returned 'not handled' (unknown type after routing, host bound packet without host vif).",
    7 FlowQueueLimitExceeded "flow_queue_limit_exceeded" "Hold queue of this flow is full (3 packets).",
    8 FlowNoMemory "flow_no_memory" "Hold queue node allocation failed.",
    9 FlowInvalidProtocol "flow_invalid_protocol" "Never raised.",
    10 FlowNatNoRflow "flow_nat_no_rflow" "NAT flow without (valid) reverse flow.",
    11 FlowActionDrop "flow_action_drop" "Flow says drop.",
    12 FlowActionInvalid "flow_action_invalid" "Unknown action.",
    13 FlowUnusable "flow_unusable" "Hold limit and burst tokens exhausted; HOLD entry without queue; non-head fragment that would create a flow; fragment entry could not be inserted.",
    14 FlowTableFull "flow_table_full" "No free entry (bucket and overflow).",
    15 InterfaceTxDiscard "interface_tx_discard" "Tx on vif being deleted.",
    16 InterfaceDrop "interface_drop" "Not-for-us MAC, xconnect without peer, fragmentation failure, ring full, tx failure.",
    17 Duplicated "duplicated" "Original freed after all copies were sent (multicast) — not an error.",
    18 Push "push" "No headroom.",
    19 TtlExceeded "ttl_exceeded" "Received MPLS TTL ≤ 1 (after decrement ≤ 0); IPv4 TTL 0 on arrival at L3 input.",
    20 InvalidNh "invalid_nh" "Nexthop missing/invalid/flagged invalid.",
    21 InvalidLabel "invalid_label" "Label ≥ max or no entry.",
    22 InvalidProtocol "invalid_protocol" "Family/type mismatch at nexthop, non-IP to L3 nexthop.",
    23 InterfaceRxDiscard "interface_rx_discard" "Rx on vif being deleted.",
    24 InvalidMcastSource "invalid_mcast_source" "Multicast source check of COMPOSITE failed (not from tree neighbour).",
    25 HeadAllocFail "head_alloc_fail" "No memory for header buffer.",
    26 PcowFail "pcow_fail" "Copy on write failed.",
    27 McastDfBit "mcast_df_bit" "Multicast too big with DF.",
    28 McastCloneFail "mcast_clone_fail" "Clone for replication failed.",
    29 NoMemory "no_memory" "Other allocation.",
    30 RewriteFail "rewrite_fail" "Encap write failed.",
    31 Misc "misc" "Tunnel header not contiguous, flow key could not be built, composite without source check, other internal failures.",
    32 InvalidPacket "invalid_packet" "Malformed (too short, bad version, bad agent header).",
    33 CksumErr "cksum_err" "Bad outer UDP or inner TCP checksum on a received tunnel packet (§8.5).",
    34 NoFmd "no_fmd" "Internal: metadata missing.",
    35 ClonedOriginal "cloned_original" "Original freed because a private copy replaced it — not an error.",
    36 InvalidVnid "invalid_vnid" "VNI without entry, or reserved bits.",
    37 FragErr "frag_err" "Fragment aged out in the assembler; assembler inbox contention; original freed after being split.",
    38 InvalidSource "invalid_source" "RPF failure, fabrictofabric hairpin.",
    39 L2NoRoute "l2_no_route" "MAC miss without flooding.",
    40 FragmentQueueFail "fragment_queue_fail" "§8.3.",
    41 VlanFwdTx "vlan_fwd_tx" "VLAN forwarding tap.",
    42 VlanFwdEnq "vlan_fwd_enq" "VLAN forwarding tap.",
    43 DropNewFlow "drop_new_flow" "Vif has `DROP_NEW_FLOWS` (per-vif flow limit reached, set by the agent) and the packet would create a flow.",
    44 FlowEvict "flow_evict" "Packet hit an entry under eviction.",
    45 TrapOriginal "trap_original" "Original freed after its truncated copy was trapped — not an error.",
    46 LeafToLeaf "leaf_to_leaf" "E-Tree.",
    47 BmacIsidMismatch "bmac_isid_mismatch" "PBB.",
    48 PktLoop "pkt_loop" "Local receive re-routed the packet more than 3 times (`local_ttl` 4 to 0); or a packet that came through a tunnel from outer source S would be tunnelled back to S (TUNNEL nexthop, ingress fabric, outer source == tunnel destination).",
    49 NoCryptPath "no_crypt_path" "Encrypting tunnel nexthop whose crypt nexthop is unusable.",
    50 InvalidHbsPkt "invalid_hbs_pkt" "9.4.",
    51 NoFragEntry "no_frag_entry" "8.3.",
    52 IcmpError "icmp_error" "ICMP error quoting an ICMP error / unparsable quote.",
    53 CloneFail "clone_fail" "Clone for trap/assembler failed.",
    54 InvalidUnderlayEcmp "invalid_underlay_ecmp" "No valid uplink.",
}

impl DropReason {
    /// How many reasons there are; the length of a counter array.
    pub const COUNT: usize = 55;

    /// Position of the counter.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Reasons that only account for copies; tools do not present them as loss.
    #[must_use]
    pub const fn is_bookkeeping(self) -> bool {
        matches!(self, Self::Duplicated | Self::ClonedOriginal | Self::TrapOriginal)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn numbers_are_dense_and_in_order() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
