# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts for the short-lived pods of node_run, which look at nodes, admit, mark and remove.

`/look` is the node's root file system, read-only, which tells what is mounted where. `/host` is the data root, and only those that make or delete
have it. Nothing is made by looking.
"""

from __future__ import annotations

MARKER = ".hostnet-admission"

# Sets `real` (the data root without symbolic links, whose absolute targets lead elsewhere inside of a pod), `mounted` (whether that is a mount point),
# `point` (the mount that it is on), `filesystem` and `id`. Says them in one line.
_DISK = """
real= rest=${ROOT#/}/ hops=0
while [ -n "$rest" ]; do
  part=${rest%%/*}
  rest=${rest#*/}
  case "$part" in
    "" | .) ;;
    ..) real=${real%/*} ;;
    *)
      if [ -L "/look$real/$part" ] && [ "$hops" -lt 40 ]; then
        hops=$((hops + 1))
        target=$(readlink "/look$real/$part")
        case "$target" in
          /*) real= rest=${target#/}/$rest ;;
          *) rest=$target/$rest ;;
        esac
      else
        real=$real/$part
      fi
      ;;
  esac
done
point= device= filesystem=
while read -r _ _ number _ where fields; do
  case "$where" in
    /look | /look/*) where=${where#/look} ;;
    *) continue ;;
  esac
  case "$real/" in
    "$where"/*) ;;
    *) continue ;;
  esac
  # A later mount at the same place covers the one before.
  [ "${#where}" -ge "${#point}" ] || continue
  fields=${fields#* - }
  point=$where device=$number filesystem=${fields%% *}
done </proc/self/mountinfo
mounted=false
[ "$point" != "$real" ] || mounted=true
there=/look$real
while [ ! -e "$there" ]; do there=${there%/*}; done
id=
case "$filesystem" in
  # Their file system id comes from the UUID. That of others is the number of a device, which another boot may give to another disk.
  ext2 | ext3 | ext4 | btrfs) id=fsid:$(stat -f -c %i "$there") ;;
  *)
    for link in /look/dev/disk/by-uuid/*; do
      numbers=$(stat -L -c '%t %T' "$link" 2>/dev/null) || continue
      if [ "$((0x${numbers% *})):$((0x${numbers#* }))" = "$device" ]; then id=uuid:${link##*/}; fi
    done
    ;;
esac
echo "disk mounted=$mounted mount=${point:-/} filesystem=$filesystem id=$id"
"""
_MARKER = """
marker=.hostnet-admission
write_marker() {
  cat >"$1" <<END
format=1
deployment=$DEPLOYMENT
token=$TOKEN
member=$MEMBER
admission=$ADMISSION_ID
node_uid=$NODE_UID
machine_id=$MACHINE
mounted=$mounted
mount=${point:-/}
filesystem=$filesystem
filesystem_id=$id
END
}
ours() {
  [ -f "$1" ] && [ ! -L "$1" ] && grep -qxF "token=$TOKEN" "$1" && grep -qxF "member=$MEMBER" "$1"
}
"""
# Looks at a node, on the host's network. Prints one fact a line.
PROBE_SCRIPT = f"""
set -u
echo "clock $(date +%s)"
{_DISK}
if [ -d "/look$real" ]; then echo "root $real"; fi
for folder in "/look$real"/*/*; do
  if [ -d "$folder" ]; then echo "folder ${{folder#"/look$real/"}}"; fi
done
for folder in "/look$real/$DEPLOYMENT"/*; do
  [ -d "$folder" ] || continue
  name=${{folder##*/}}
  if ! inside=$(ls -A "$folder"); then
    state=unreadable
  elif [ -z "$inside" ]; then
    state=empty
  elif [ "$inside" = {MARKER} ]; then
    state=marker
  else
    state=data
  fi
  echo "content $name $state"
  if [ -f "$folder/{MARKER}" ]; then
    while read -r line; do echo "marker $name $line"; done <"$folder/{MARKER}"
  fi
done
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ local _ state _; do
  [ "$state" = 0A ] && echo "port $((0x${{local##*:}}))"
done
exit 0
"""
# What begins every script that works on a member's folder.
_FOLDER = f"""
set -eu
base="/host/${{DEPLOYMENT:?}}"
folder="$base/${{ADMISSION:?}}"
: "${{TOKEN:?}}" "${{MEMBER:?}}" "${{ADMISSION_ID:?}}"
{_DISK}
{_MARKER}"""
# Admission: makes the folder without which the member's pod does not start, complete with its marker or not at all. Data that is there already is never
# touched. What an admission of the same member that was cut short has left is only a marker, and goes.
ADMIT_SCRIPT = f"""{_FOLDER}
if [ "$MUST_MOUNT" = true ] && [ "$mounted" = false ]; then
  echo "no disk is mounted at $ROOT, which is a folder of ${{point:-/}}: mount the data disk there"
  exit 4
fi
for wanted in ${{PORTS:-}}; do
  if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:${{wanted%%=*}} [0-9A-F:]* 0A "; then
    echo "port $((0x${{wanted%%=*}})) (${{wanted##*=}}) is already taken on the host: free it"
    exit 5
  fi
done
clock=$(date +%s)
if [ "$clock" -lt "${{NOT_BEFORE:-0}}" ]; then
  echo "its clock is at least $((NOT_BEFORE - clock)) seconds further behind the clock of the controller than 50 minutes: synchronise it"
  exit 6
fi
for other in "$base"/* "$base"/.new-*; do
  case "${{other##*/}}" in
    .new-*)
      if [ -d "$other" ] && [ ! -L "$other" ]; then rm -f "$other/$marker" && rmdir "$other"; else rm -f "$other"; fi
      ;;
    *)
      if [ -d "$other" ] && [ ! -L "$other" ] && [ "$(ls -A "$other")" = "$marker" ] && ours "$other/$marker"; then
        rm "$other/$marker"
        rmdir "$other"
      fi
      ;;
  esac
done
if [ -L "$base" ] || [ -L "$folder" ] || {{ [ -e "$folder" ] && [ ! -d "$folder" ]; }}; then
  echo "$folder is no folder"
  exit 3
fi
if [ -d "$folder" ]; then
  if [ -n "$(ls -A "$folder")" ]; then
    echo "$folder has content, although no member was ever admitted to it"
    exit 3
  fi
  rmdir "$folder"
fi
[ -d "$base" ] || mkdir -m 0711 "$base"
mkdir -m 0700 "$base/.new-$ADMISSION_ID"
write_marker "$base/.new-$ADMISSION_ID/$marker"
chown "$OWNER:$OWNER" "$base/.new-$ADMISSION_ID"
mv "$base/.new-$ADMISSION_ID" "$folder"
echo admitted
"""
# The marker of a member that an older version has admitted. Its folder's name has the token in it, or is made of it: nobody else has such a one.
MARK_SCRIPT = f"""{_FOLDER}
if [ -L "$folder" ] || [ ! -d "$folder" ]; then
  echo "$folder is no folder, although member $MEMBER runs in it"
  exit 3
fi
if [ -e "$folder/$marker" ] || [ -L "$folder/$marker" ]; then
  if ! ours "$folder/$marker" || ! grep -qxF "admission=$ADMISSION_ID" "$folder/$marker"; then
    echo "$folder has the marker of another member or admission"
    exit 3
  fi
  exit 0
fi
write_marker "$base/.new-$ADMISSION_ID"
mv "$base/.new-$ADMISSION_ID" "$folder/$marker"
echo marked
"""
# Deletes the recorded folder of one member where its marker says so, its marker last, and what has nothing but a marker of this deployment. Everything else is
# left and named. Only ever run when the user has asked for it by name.
REMOVE_SCRIPT = f"""
set -eu
base="/host/${{DEPLOYMENT:?}}"
marker={MARKER}
proven() {{
  [ -d "$1" ] && [ ! -L "$1" ] && [ -f "$1/$marker" ] && [ ! -L "$1/$marker" ] && [ -n "$TOKEN" ] && grep -qxF "token=$TOKEN" "$1/$marker"
}}
if [ -L "$base" ] || [ ! -d "$base" ]; then exit 0; fi
case "$ADMISSION" in
  */* | . | ..) echo "the admission $ADMISSION is no name of a folder"; exit 3 ;;
esac
for folder in "$base"/* "$base"/.[!.]*; do
  name=${{folder##*/}}
  if [ ! -e "$folder" ] && [ ! -L "$folder" ]; then continue; fi
  if [ -n "$ADMISSION" ] && [ "$name" = "$ADMISSION" ]; then
    if proven "$folder" && grep -qxF "member=$MEMBER" "$folder/$marker" && grep -qxF "admission=$ADMISSION_ID" "$folder/$marker"; then
      find "$folder" -mindepth 1 -maxdepth 1 ! -name "$marker" -exec rm -rf {{}} +
      rm "$folder/$marker"
      rmdir "$folder"
      echo "removed $name"
    else
      echo "unproven $name"
    fi
  elif proven "$folder" && [ "$(ls -A "$folder")" = "$marker" ]; then
    rm "$folder/$marker"
    rmdir "$folder"
  elif [ "${{name#.new-}}" != "$name" ] && [ -f "$folder" ]; then
    rm "$folder"
  else
    echo "left $name"
  fi
done
rmdir "$base" 2>/dev/null || true
"""
SCRIPTS = {"probe": PROBE_SCRIPT, "admit": ADMIT_SCRIPT, "mark": MARK_SCRIPT, "remove": REMOVE_SCRIPT}
