//! Ports: AF_XDP, TAP, veth, pkt0, pcap and memory.
