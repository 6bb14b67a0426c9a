# Functions of the VM that looks at a Windows (windows_facts.sh). They read an NTFS volume by programs that mount
# nothing, and registry hives by hivexsh; only `take_out` writes. `$work` is a folder of their own.
# Names are compared as Windows does it, without regard to case; those of a guest are told with at most 300 letters.

software='\Microsoft\Windows NT\CurrentVersion'
state='\Microsoft\Windows\CurrentVersion\Setup\State'
most=20 # places of a kind that are told
most_users=50
most_hive=536870912

tell() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr -d '\r\n' | head -c "${3:-300}")"; }

unread() { tell unread "$1"; } # a place, and why

# Each place on standard input, with a word before it
each() { head -n "$most" | while read -r line; do tell "$1" "$2$line"; done; }

names() { # names DEVICE FOLDER: what is in it; nothing where it is none
    list=$work/names.$(printf '%s' "$2" | md5sum | head -c 32)
    [ -e "$list" ] || ntfsls -f -a -p "/$2" "$1" > "$list" 2> /dev/null || not_seen "/$2: it could not be listed"
    cat "$list"
}

not_seen() { printf '%s\n' "$1" >> "$work/not-seen"; } # told at the end, for who calls reads what is printed

at() { # at DEVICE PATH: where that is, in the volume's own letters; nothing where it is not
    walked=''
    rest=$2
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
        names "$1" "$walked" | grep -ixF -e "$part" > "$work/found"
        [ "$(wc -l < "$work/found")" -le 1 ] || not_seen "/$walked: it has more than one $part"
        found=$(head -n 1 "$work/found")
        [ -n "$found" ] || return 1
        walked=$walked${walked:+/}$found
    done
    printf '%s\n' "$walked"
}

matching() { # matching DEVICE FOLDER PATTERN: the places of what in it has such a name
    folder=$(at "$1" "$2") || return 0
    names "$1" "$folder" | grep -iE -e "$3" | head -n "$most" | while read -r name; do
        printf '%s\n' "$folder/$name"
    done
}

read_file() { ntfscat -f "$1" "$2" 2> /dev/null; }

is_ours() { # is_ours DEVICE PLACE: whether a file names vmkiln, in letters of one byte or of two
    read_file "$1" "$2" | head -c 1048576 | tr -d '\000' | grep -qi vmkiln
}

ask() { # ask HIVE COMMAND...: what hivexsh says; nothing where the hive has no such key or value
    hive=$1
    shift
    printf '%s\n' "$@" > "$work/question"
    hivexsh -f "$work/question" "$work/$hive" 2> /dev/null
}

get_hive() { # get_hive DEVICE NAME: copies a hive; fails where it cannot be read. What its log has is not read.
    place=Windows/System32/config/$2
    if ! place=$(at "$1" "$place"); then
        unread "Windows/System32/config/$2: it is not there"
        return 1
    fi
    read_file "$1" "$place" | head -c "$most_hive" > "$work/$2"
    if ! ask "$2" 'ls' > /dev/null; then
        unread "$place: it is no registry hive that can be read"
        return 1
    fi
    if ! is_whole "$2"; then unread "$place: what was written last is in its log, which is not read"; fi
}

is_whole() { # is_whole HIVE: both numbers of its sequence are the same
    [ "$(dd if="$work/$1" bs=4 skip=1 count=1 2> /dev/null | hexdump -v -e '1/1 "%02x"')" = \
        "$(dd if="$work/$1" bs=4 skip=2 count=1 2> /dev/null | hexdump -v -e '1/1 "%02x"')" ]
}

control_set() { printf 'ControlSet%03d' "$(ask SYSTEM 'cd \Select' 'lsval Current')"; }

overrides() { # of the hive SYSTEM: drivers of a disk that do not start on another machine
    set=$(control_set)
    for service in storahci stornvme intelide atapi pci; do
        if [ "$(ask SYSTEM "cd \\$set\\Services\\$service\\StartOverride" 'lsval 0')" = 3 ]; then echo "$service"; fi
    done
}

winning_answers() { # winning_answers DEVICE: the answer files that set-up takes before one on a read-only disc
    matching "$1" Windows/Panther/Unattend '^(auto)?unattend\.xml$'
    matching "$1" Windows/Panther '^(auto)?unattend\.xml$'
}

residues() { # residues DEVICE: what of a build is left in it, what else is to be told, what cannot be read
    device=$1
    at "$device" Windows/System32/config/SOFTWARE > /dev/null || return 0
    tell device "${device##*/}"
    if ! ntfsls "$device" > /dev/null 2> "$work/reason"; then
        unread "${device##*/}: its file system is not whole ($(head -n 1 "$work/reason"))"
    fi
    residues_in_files "$device"
    residues_in_hives "$device"
    [ ! -e "$work/not-seen" ] || sort -u "$work/not-seen" | each unread ''
}

residues_in_files() {
    device=$1
    case $(read_file "$device" "$(at "$device" hiberfil.sys)" | head -c 4 | tr 'A-Z' 'a-z' | tr -cd 'a-z') in
        hibr | wake | rstr) tell left 'set-up hiberfil.sys, so it is hibernated' ;;
    esac
    for folder in Windows/Panther Windows/Panther/Unattend Windows/System32/Sysprep ''; do
        matching "$device" "$folder" '^(auto)?unattend[^/]*\.xml$'
    done | while read -r place; do
        place=${place#/}
        if is_ours "$device" "$place"; then tell left "answer-file $place"; else tell told "answer $place"; fi
    done
    {
        matching "$device" Windows/Temp '^(script-|packer-|winrmcp|vmkiln)'
        matching "$device" Windows/System32/Tasks '^(packer-|vmkiln)'
        matching "$device" '' '^DeprovisioningScript\.ps1$'
        for folder in Windows/Setup/Scripts Windows/OEM; do
            matching "$device" "$folder" 'before-vmkiln'
            matching "$device" "$folder" '^SetupComplete2?\.cmd$' | while read -r place; do
                if is_ours "$device" "$place"; then printf '%s\n' "$place"; fi
            done
        done
    } | sed 's|^/||' | each left 'packer-files '
    matching "$device" Users '^packer(\..*)?$' | each left 'build-user '
    typed=AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine
    matching "$device" "Windows/System32/config/systemprofile/$typed" '_history\.txt$' | each left 'history '
    users=$(at "$device" Users) || return 0
    if [ "$(names "$device" "$users" | wc -l)" -gt "$most_users" ]; then
        unread "$users: it has more than $most_users folders, and histories are looked for in so many"
    fi
    names "$device" "$users" | head -n "$most_users" | while read -r user; do
        case $user in . | ..) continue ;; esac
        matching "$device" "$users/$user/$typed" '_history\.txt$'
    done | each told 'history '
}

residues_in_hives() {
    device=$1
    if get_hive "$device" SAM; then
        if ask SAM 'cd \SAM\Domains\Account\Users\Names' ls | grep -qix packer; then tell left 'build-user SAM, packer'; fi
        rm "$work/SAM"
    fi
    if get_hive "$device" SECURITY; then
        if ask SECURITY 'cd \Policy\Secrets\DefaultPassword' > /dev/null; then
            unread 'SECURITY, DefaultPassword: the password of a logon without asking is encrypted'
        fi
        rm "$work/SECURITY"
    fi
    if get_hive "$device" SYSTEM; then
        rules="\\$(control_set)\\Services\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules"
        if ask SYSTEM "cd $rules" lsval | grep -qi '^"vmkiln-build"='; then
            tell left 'login-key SYSTEM, FirewallRules vmkiln-build'
        fi
        answer=$(ask SYSTEM 'cd \Setup' 'lsval UnattendFile')
        [ -z "$answer" ] || tell told "answer SYSTEM, Setup UnattendFile $answer"
        rm "$work/SYSTEM"
    fi
    if get_hive "$device" SOFTWARE; then
        residues_in_software
        rm "$work/SOFTWARE"
    fi
}

residues_in_software() {
    now=$(ask SOFTWARE "cd $state" 'lsval ImageState')
    [ "$now" = IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE ] || tell left "set-up its state is ${now:-unknown}"
    if ask SOFTWARE 'cd \vmkiln' > /dev/null; then tell left 'packer-files SOFTWARE, vmkiln'; fi
    ask SOFTWARE "cd $software\\Schedule\\TaskCache\\Tree" ls | grep -iE '^(packer-|vmkiln)' |
        each left 'packer-files SOFTWARE, TaskCache '
    ask SOFTWARE "cd $software\\ProfileList" ls | head -n 200 | while read -r id; do
        ask SOFTWARE "cd $software\\ProfileList\\$id" 'lsval ProfileImagePath' | grep -qiE '\\packer(\.[^\\]*)?$' &&
            printf '%s\n' "$id"
    done | each left 'build-user SOFTWARE, ProfileList '
    logon="$software\\Winlogon"
    [ "$(ask SOFTWARE "cd $logon" 'lsval DefaultUserName' | tr 'A-Z' 'a-z')" != packer ] ||
        tell left 'build-user SOFTWARE, Winlogon DefaultUserName'
    if ask SOFTWARE 'cd \Microsoft\Windows\CurrentVersion\Authentication\LogonUI' lsval | grep -qiE '\\packer"'; then
        tell left 'build-user SOFTWARE, LogonUI'
    fi
    [ -z "$(ask SOFTWARE "cd $logon" 'lsval DefaultPassword')" ] || tell told 'logon SOFTWARE, Winlogon DefaultPassword'
    for key in Run RunOnce; do
        ask SOFTWARE "cd \\Microsoft\\Windows\\CurrentVersion\\$key" lsval | grep -i vmkiln | head -n 1 > "$work/line"
        [ ! -s "$work/line" ] || tell left "packer-files SOFTWARE, $key"
    done
    remote='\Microsoft\Windows\CurrentVersion\WSMAN'
    ask SOFTWARE "cd $remote\\Listener" ls | head -n "$most" | while read -r listener; do
        ask SOFTWARE "cd $remote\\Listener\\$listener" lsval | grep -qi 'build-vm' && printf '%s\n' "$listener"
    done | each left 'login-key SOFTWARE, WSMAN Listener '
    [ "$(ask SOFTWARE "cd $remote\\Service" 'lsval auth_basic')" != 1 ] || tell told 'basic SOFTWARE, WSMAN Service'
    store='\Microsoft\SystemCertificates\MY\Certificates'
    ask SOFTWARE "cd $store" ls | head -n 200 | while read -r certificate; do
        # in letters, and as hivexsh writes what is none
        ask SOFTWARE "cd $store\\$certificate" lsval | grep -qiE 'build-vm|62,75,69,6c,64,2d,76,6d' &&
            printf '%s\n' "$certificate"
    done | each left 'login-key SOFTWARE, certificate '
    policy='\Microsoft\Windows\CurrentVersion\Policies\System'
    [ "$(ask SOFTWARE "cd $policy" 'lsval LocalAccountTokenFilterPolicy')" != 1 ] ||
        tell told 'token SOFTWARE, Policies System'
}

take_out() { # take_out DEVICE: answer files that win over the run's, and what keeps a driver of its disk from starting
    device=$1
    place=$(at "$device" Windows/System32/config/SYSTEM) || return 0
    tell device "${device##*/}"
    winning_answers "$device" > "$work/answers"
    read_file "$device" "$place" | head -c "$most_hive" > "$work/SYSTEM"
    overrides > "$work/overrides"
    answer=$(ask SYSTEM 'cd \Setup' 'lsval UnattendFile')
    [ -z "$answer" ] || tell stays "SYSTEM, Setup UnattendFile: it names $answer, which wins over the run's answer"
    [ -s "$work/answers" ] || [ -s "$work/overrides" ] || return 0
    mkdir -p "$work/volume"
    if ! ntfs-3g -o norecover "$device" "$work/volume" > "$work/reason" 2>&1; then
        tell stays "${device##*/}: it cannot be written to ($(head -n 1 "$work/reason"))"
        return 0
    fi
    # of what is hibernated or not whole it makes a volume to be read only
    if ! grep -q " $work/volume fuse[^ ]* rw" /proc/mounts; then
        tell stays "${device##*/}: it can only be read ($(head -n 1 "$work/reason"))"
        umount "$work/volume"
        return 0
    fi
    while read -r answer; do
        if rm "$work/volume/$answer"; then tell taken "answer $answer"; else tell stays "$answer: it cannot be deleted"; fi
    done < "$work/answers"
    if [ -s "$work/overrides" ]; then take_out_overrides "$work/volume/$place"; fi
    umount "$work/volume" || tell broken 'the volume was not written to its end'
}

take_out_overrides() { # take_out_overrides FILE: of the hive SYSTEM, which it is
    if ! is_whole SYSTEM; then
        tell stays "$(tr '\n' ' ' < "$work/overrides"): what was written last is in the hive's log, which is not read"
        return 0
    fi
    set=$(control_set)
    while read -r service; do
        printf 'cd \\%s\\Services\\%s\\StartOverride\ndel\n' "$set" "$service"
    done < "$work/overrides" > "$work/question"
    echo commit >> "$work/question"
    if hivexsh -w -f "$work/question" "$work/SYSTEM" > /dev/null 2> "$work/reason"; then
        # the file keeps its place and its rights
        if cat "$work/SYSTEM" > "$1"; then
            while read -r service; do tell taken "override $service"; done < "$work/overrides"
        else tell broken 'the hive SYSTEM was not written to its end'; fi
    else tell stays "StartOverride: $(head -n 1 "$work/reason")"; fi
}
