#!/bin/sh
# Runs inside the build VM as the unprivileged build user; sudo gives root.
set -eu
echo "Customizing $(hostname) as $(whoami)"
printf '#!/bin/sh\necho "Hello from an image built by vmkiln"\n' | sudo tee /usr/local/bin/hello > /dev/null
sudo chmod 0755 /usr/local/bin/hello
