package cmd

// serverText is 'castar help server'. A test runs its ExecStart.
const serverText = `
This sets up a server for ten machines. One machine keeps the store; the others store and read over gRPC.

Make a user and a directory for the store, and a token for each machine:
  useradd --system --home-dir /var/lib/castar --create-home castar
  install -d -m 0750 -o root -g castar /etc/castar
  for machine in alpha beta; do
    echo "$(openssl rand -hex 32) put delete $machine/"
  done > /etc/castar/tokens
'castar serve --help' explains the rights of a token. Here each machine may store, and may set, move and delete tags that
begin with its own name. It cannot change the tags of other machines.

Put a certificate for the name of the server in /etc/castar/cert.pem, and its key in /etc/castar/key.pem. Let only root
and the group castar read the tokens and the key:
  chgrp castar /etc/castar/tokens /etc/castar/key.pem
  chmod 0640 /etc/castar/tokens /etc/castar/key.pem

/etc/systemd/system/castar.socket keeps the port while the service restarts, so that clients wait instead of failing:
  [Socket]
  ListenStream=8000

  [Install]
  WantedBy=sockets.target

/etc/systemd/system/castar.service:
  [Unit]
  Description=castar server
  Requires=castar.socket
  After=network.target

  [Service]
  Type=notify
  User=castar
  StateDirectory=castar
  ExecStart=/usr/local/bin/castar serve -s /var/lib/castar/store \
    --allow-put --allow-delete --gc-every 24h --metrics 127.0.0.1:9100 \
    --token-file /etc/castar/tokens \
    --tls-cert /etc/castar/cert.pem --tls-key /etc/castar/key.pem
  ExecReload=/bin/kill -HUP $MAINPID
  Restart=on-failure
  TimeoutStopSec=30
  LimitNOFILE=65536
  MemoryMax=1G
  UMask=0027
  NoNewPrivileges=yes
  CapabilityBoundingSet=
  ProtectSystem=strict
  ProtectHome=yes
  PrivateTmp=yes
  PrivateDevices=yes
  ProtectKernelTunables=yes
  ProtectKernelModules=yes
  ProtectControlGroups=yes
  RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
  RestrictNamespaces=yes
  LockPersonality=yes
  SystemCallArchitectures=native
  SystemCallFilter=@system-service

Start it, and look at it:
  systemctl enable --now castar.socket castar.service
  journalctl -u castar

On each machine, put its token (the first word of its line) into /etc/castar/token. Let only root read that file. Let cron
run this script:
  export CASTAR_STORE='grpc+https://server:8000?token-path=/etc/castar/token'
  castar ingest -q --tag "$(hostname)/home" /home >/dev/null

After a change of the tokens:
  systemctl reload castar

Each machine forgets its own ingests; the server collects the garbage:
  castar forget --tag "$(hostname)/home" --keep-daily 7 --keep-weekly 4

The server needs no attention while its disk has room. When the disk is full, clients can read but not store. When there
is space again, clients can store again. Watch these:
  castar_rpc_put_serving, and health of castar.put   1, or SERVING, while clients may store
  castar_rpc_calls_total{code="ResourceExhausted"}   the disk is full, or the server has too much to do
  castar verify -q --sample 1/20                     each night, on the server

To run the server in a container, keep the store in a volume that the user of the container owns:
  FROM golang:1.26 AS build
  COPY . /src
  RUN cd /src && go build -trimpath -o /castar .

  FROM debian:stable-slim
  COPY --from=build /castar /usr/local/bin/castar
  USER 1000
  VOLUME /var/lib/castar
  EXPOSE 8000
  ENTRYPOINT ["castar", "serve", "-s", "/var/lib/castar/store"]
  CMD ["--listen", ":8000", \
    "--allow-put", "--allow-delete", "--gc-every", "24h", \
    "--token-file", "/etc/castar/tokens", \
    "--tls-cert", "/etc/castar/cert.pem", "--tls-key", "/etc/castar/key.pem"]
Name this file Containerfile, and put it beside the sources. User 1000 must be able to read /etc/castar:
  podman build -t castar .
  podman run -p 8000:8000 -v castar:/var/lib/castar:U \
    -v /etc/castar:/etc/castar:ro castar`
