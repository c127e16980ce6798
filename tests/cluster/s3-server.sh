#!/bin/bash
# s3-server.sh: prints the path of an S3 server, which is built from its Go module the first time.
exec "$(dirname "${BASH_SOURCE[0]}")/../../scripts/test-server.sh" s3
