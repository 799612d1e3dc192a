//! What the programs count, per CPU.

/// Declares an enum of counters whose discriminants are indices of a per-CPU array.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Index in the map.
            #[inline(always)]
            #[must_use]
            pub const fn index(self) -> u32 {
                self as u32
            }

            /// Name for people and for metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

counters! {
    /// Counters of the programs on a fabric device and on the pair of vhost0. Each packet is counted once by its fate;
    /// the last one is counted besides.
    Counter {
        /// Not a tunnel packet: given to the kernel.
        PassedOther = "passed_other",
        /// A fragment of an outer packet: given to the kernel (forwarding.md 5.1).
        PassedFragment = "passed_fragment",
        /// The headers up to the tunnel's are cut short or contradict themselves: given to the kernel.
        PassedMalformed = "passed_malformed",
        /// A tunnel packet to an address that is no local endpoint of this kind of tunnel: given to the kernel.
        PassedNotLocal = "passed_not_local",
        /// Given to the kernel because the program was told to pass everything.
        PassedBypass = "passed_bypass",
        /// `MPLSoUDP`, given to a socket.
        RedirectedMplsUdp = "redirected_mpls_udp",
        /// `MPLSoGRE`, given to a socket.
        RedirectedMplsGre = "redirected_mpls_gre",
        /// `VXLAN`, given to a socket.
        RedirectedVxlan = "redirected_vxlan",
        /// Not a tunnel packet, given to a socket because the address of the host is on vhost0.
        RedirectedHost = "redirected_host",
        /// A tunnel packet whose queue has no socket in the chosen slot.
        DroppedNoSocket = "dropped_no_socket",
        /// A tunnel packet while no worker shows that it lives.
        DroppedStale = "dropped_stale",
        /// From the fabric, left to the program that sends it to vhost0: no dataplane takes it.
        JoinedToHost = "joined_to_host",
        /// From vhost0, sent out of the fabric device: no dataplane takes it.
        JoinedToFabric = "joined_to_fabric",
        /// From vhost0, dropped behind the socket by which the dataplane has got it.
        TakenFromHost = "taken_from_host",
        /// The driver has no room for metadata: redirected without. Counted besides the redirection.
        NoMetadata = "no_metadata",
    }
}

counters! {
    /// Counters of the program `swallow`.
    SwallowCounter {
        /// Packets dropped; a super-frame is one packet.
        Packets = "swallowed_packets",
        /// Bytes of these packets, from the Ethernet header on.
        Bytes = "swallowed_bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_the_list() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter.index() as usize, index);
        }
        assert_eq!(Counter::DroppedNoSocket.name(), "dropped_no_socket");
        assert_eq!(SwallowCounter::ALL.len(), 2);
    }
}
