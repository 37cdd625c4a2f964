#!/usr/bin/env bash
# A single-node Apache Kafka on loopback, for machines with Java 17 and Maven but no Docker.
#
#   kafka.sh start DIR [PORT]   in the background; prints HOST:PORT once it answers. Again over the same DIR = the same data
#   kafka.sh run   DIR [PORT]   the same in the foreground, as this very process: its pid, its end, its log are the caller's
#   kafka.sh stop  DIR          ask it to end, and wait
#   kafka.sh kill  DIR          kill -9
#   kafka.sh jars               only fetch the jars, print where they are
#
# DIR holds data, kafka.log, kafka.pid, server.properties; PORT (9092) is for clients, PORT + 1 for the controller.
# Where there is a DIR/more.properties, its settings come on top.
# The jars are fetched once into $DAYMARK_KAFKA_JARS (the user's cache directory unless set) and shared by all.
set -euo pipefail

room=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { echo "kafka: $*" >&2; exit 1; }

version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$room/pom.xml")
lib=${DAYMARK_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/daymark}/kafka-$version
# What the JVM has to say of itself goes to stderr: stdout is ours.
java=(java -cp "$lib/*" -XX:+UseSerialGC -Xlog:disable -Xlog:all=error:stderr -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)

jars() { # -> in $lib: the jars of the version that pom.xml names, and beside it $lib.jsa
  if [[ ! -d $lib ]]; then
    command -v mvn >/dev/null || die "needs Maven once, to fetch its jars (Debian: apt-get install maven)"
    mkdir -p "${lib%/*}"
    local part; part=$(mktemp -d "${lib%/*}/part.XXXXXX")
    MAVEN_OPTS="-Duser.home=$HOME ${MAVEN_OPTS:-}" mvn --quiet --batch-mode -Dstyle.color=never \
      --file "$room/pom.xml" dependency:copy-dependencies -DoutputDirectory="$part" >&2 ||
      { rm -rf "$part"; die "Maven could not fetch the jars"; }
    chmod 755 "$part"
    mv -T "$part" "$lib" 2>/dev/null || rm -rf "$part" # somebody else was faster
  fi
  [[ -e $lib.jsa ]] || rehearse
}

# Once: a broker over nothing, ended as soon as it answers, whose JVM keeps the classes that it loaded as it has them in
# memory. Who begins with them, starts for a quarter of the processor time; another Java than that one ignores them.
rehearse() {
  command -v java >/dev/null || return 0
  local dir port=29092
  dir=$(mktemp -d "$lib.XXXXXX")
  while answers "$port" || answers $((port + 1)); do ((port += 2)); done
  settings "$port" >"$dir/server.properties"
  if format &>/dev/null; then
    # Should we be killed meanwhile, it still ends.
    timeout 60 "${java[@]}" "-XX:ArchiveClassesAtExit=$dir/classes.jsa" kafka.Kafka "$dir/server.properties" &>/dev/null &
    local broker=$!
    until answers "$port" || ! kill -0 "$broker" 2>/dev/null; do sleep 0.1; done
    kill "$broker" 2>/dev/null || true
    wait "$broker" || true
  fi
  [[ -s $dir/classes.jsa ]] || : >"$dir/classes.jsa" # cannot be made here: an empty one says that it was tried
  chmod 644 "$dir/classes.jsa"
  mv "$dir/classes.jsa" "$lib.jsa"
  rm -rf "$dir"
}

settings() { # PORT -> server.properties
  cat <<CONF
node.id=1
process.roles=broker,controller
listeners=CLIENTS://127.0.0.1:$1,CONTROLLER://127.0.0.1:$(($1 + 1))
advertised.listeners=CLIENTS://127.0.0.1:$1
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:$(($1 + 1))
log.dirs=$dir/data
# A topic that nobody declared is a mistake.
auto.create.topics.enable=false
# Kafka's own topics ask for three brokers by default; with one, consumer groups would never form.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Do not wait for more members, nor after kill -9 for the session of one's own former self.
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
CONF
  if [[ -f $dir/more.properties ]]; then cat "$dir/more.properties"; fi # what comes later counts
}

prepare() { # PORT
  command -v java >/dev/null || die "needs Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
  jars
  settings "$1" >"$dir/server.properties"
  [[ -f $dir/data/meta.properties ]] || format >/dev/null
}

format() {
  local id; id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
  "${java[@]}" "-XX:SharedArchiveFile=$lib.jsa" kafka.tools.StorageTool format --standalone "--cluster-id=$id" --config "$dir/server.properties"
}

serve() { exec "${java[@]}" "-XX:SharedArchiveFile=$lib.jsa" -Xms256m -Xmx512m kafka.Kafka "$dir/server.properties"; }

pid() { # -> the broker's pid, if it lives and is one: a number alone may be another program's by now
  local number; number=$(cat "$dir/kafka.pid" 2>/dev/null) || return 1
  grep -qa "$dir/server.properties" "/proc/$number/cmdline" 2>/dev/null && echo "$number"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

end() { # SIGNAL
  local number
  if number=$(pid); then
    kill "-$1" "$number"
    # Until its last thread is gone, or a zombie that nobody collects: only then its port is free.
    while [[ $(grep -hs '^State:' /proc/"$number"/task/*/status) =~ State:[[:space:]][^Z] ]]; do sleep 0.05; done
  fi
  rm -f "$dir/kafka.pid"
}

verb=${1:-}
case $verb in
start | run | stop | kill)
  [[ -n ${2:-} ]] || die "$verb needs a directory"
  mkdir -p "$2"
  dir=$(cd "$2" && pwd)
  port=${3:-9092}
  ;;
esac

case $verb in
jars) jars && echo "$lib" ;;
run)
  ! pid >/dev/null || die "already runs over $dir"
  ! answers "$port" || die "port $port is taken by another program"
  prepare "$port"
  echo $$ >"$dir/kafka.pid"
  (until answers "$port"; do kill -0 $$ 2>/dev/null || exit; sleep 0.1; done; echo "127.0.0.1:$port") &
  serve
  ;;
start)
  if ! pid >/dev/null; then
    ! answers "$port" || die "port $port is taken by another program"
    prepare "$port"
    (trap '' INT && serve) </dev/null &>"$dir/kafka.log" & # ^C at the terminal is not meant for it
    echo $! >"$dir/kafka.pid"
  fi
  for ((tries = 0; tries < 600; tries++)); do
    kill -0 "$(cat "$dir/kafka.pid")" 2>/dev/null || { tail -n 20 "$dir/kafka.log" >&2; die "it ended; its log is $dir/kafka.log"; }
    if answers "$port"; then echo "127.0.0.1:$port"; exit; fi
    sleep 0.1
  done
  die "no answer within 60 s; its log is $dir/kafka.log"
  ;;
stop) end TERM ;;
kill) end KILL ;;
*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
