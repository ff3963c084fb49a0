//! Generates the CSI types and services from `proto/csi.proto`, without needing `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/csi.proto");
    let descriptors = protox::compile(["proto/csi.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .skip_debug(["NodePublishVolumeRequest", "NodeStageVolumeRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
