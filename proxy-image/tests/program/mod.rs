//! The program that is tested.

/// Returns the path of mtls-proxy: `MTLS_PROXY`, for instance a static one as in the image, or the
/// one that was built with the tests.
pub(crate) fn mtls_proxy() -> String {
    let told = std::env::var_os("MTLS_PROXY").and_then(|path| path.into_string().ok());
    told.unwrap_or_else(|| env!("CARGO_BIN_EXE_mtls-proxy").to_owned())
}
