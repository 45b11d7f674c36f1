#!/busybox/sh
# Process 1 of the machine. The script's output goes to the second serial port, its exit status to the third; the kernel
# and this script speak on the first.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/busybox HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
chmod 1777 /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /run/netns /run/lock
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
hostname vm
ip link set lo up
stty -F /dev/ttyS1 raw -echo
for module in $(cat /job/modules); do
    modprobe "$module" || echo "vm: this kernel has no module $module" > /dev/ttyS1
done
# Through a pipe: a program that writes to a terminal draws what only a person's eyes undraw. What the script left
# running is killed, for the pipe to close behind it.
mkfifo /job/pipe
cat < /job/pipe > /dev/ttyS1 &
cat=$!
cd /root
setsid bash /job/script < /dev/null > /job/pipe 2>&1
echo "$?" > /dev/ttyS2
while [ -e "/proc/$cat/exe" ]; do
    for process in /proc/[0-9]*; do
        [ "$process" = /proc/1 ] || [ "$process" = "/proc/$cat" ] || kill -s KILL "${process#/proc/}" 2> /dev/null
    done
    usleep 10000
done
reboot -f
