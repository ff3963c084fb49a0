//! The smallest question an RPC server answers: is this program, in this version, there.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// NFS.
pub(crate) const NFS: u32 = 100_003;
/// MOUNT.
pub(crate) const MOUNT: u32 = 100_005;

/// Calls procedure 0 of version 3 of `program` (RFC 5531), which does nothing, and says whether it was done.
pub(crate) async fn answers(address: &str, program: u32) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&call(program)).await?;
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).await?;
    Ok(is_success(&reply))
}

/// A record with a call of the null procedure, without credentials.
fn call(program: u32) -> Vec<u8> {
    const LAST_FRAGMENT: u32 = 1 << 31;
    const IDENTIFIER: u32 = 1;
    const CALL: u32 = 0;
    const RPC_VERSION: u32 = 2;
    const NO_CREDENTIALS: [u32; 4] = [0; 4];
    let body = [&[IDENTIFIER, CALL, RPC_VERSION, program, 3, 0][..], &NO_CREDENTIALS].concat();
    let length = u32::try_from(body.len() * 4).unwrap_or_default();
    [&[LAST_FRAGMENT | length], body.as_slice()].concat().iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Whether a reply says that the call was accepted and succeeded. After the record's mark come identifier, the word
/// "reply", "accepted", the verifier (flavour, length 0) and the status.
fn is_success(reply: &[u8; 28]) -> bool {
    let word = |position: usize| reply.get(position * 4..position * 4 + 4).map(<[u8]>::to_vec);
    word(2) == Some(vec![0, 0, 0, 1]) && word(3) == Some(vec![0; 4]) && word(6) == Some(vec![0; 4])
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn reply(status: u8) -> [u8; 28] {
        let words: [u32; 7] = [0x8000_0018, 1, 1, 0, 0, 0, status.into()];
        words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>().try_into().unwrap()
    }

    #[tokio::test]
    async fn a_server_is_asked_for_the_null_procedure() {
        for (status, expected) in [(0, true), (1, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 44];
                stream.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked[..4], [0x80, 0, 0, 40]);
                assert_eq!(asked[16..20], NFS.to_be_bytes());
                stream.write_all(&reply(status)).await.unwrap();
            };
            let ((), answer) = tokio::join!(server, answers(&address, NFS));
            assert_eq!(answer.unwrap(), expected);
        }
    }
}
