//! Generates the contract's code with protoc (Debian package protobuf-compiler).
fn main() -> std::io::Result<()> {
    tonic_prost_build::configure().compile_protos(&["proto/linnet.proto"], &["proto"])
}
