//! The gRPC contract of linnetd and its generated code, nothing else. The contract is `proto/linnet.proto`.

tonic::include_proto!("linnet.v1");
