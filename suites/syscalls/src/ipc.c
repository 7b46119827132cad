// Sockets, message queues, System V IPC, signals.
#include "lisa.h"

#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <linux/mqueue.h>

static char buffer[4096] __attribute__((aligned(8)));

// ---- sockets -------------------------------------------------------------------------------------------------------

static void socket_flags(void) {
  int end = (int)work(sys(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  equal(tool(sys(fcntl, end, F_GETFD)), FD_CLOEXEC);
  equal(tool(sys(fcntl, end, F_GETFL)) & O_NONBLOCK, O_NONBLOCK);
}

static void sends_descriptors(void) {
  int pair[2], file = memory_file("handed over"), got = -1;
  char byte = 'x', text[16] = "";
  union {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr head;
  } control;
  memset(&control, 0, sizeof control);
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room};
  work(sys(socketpair, AF_UNIX, SOCK_STREAM, 0, pair));
  control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.head), &file, sizeof file);
  equal(sys(sendmsg, pair[0], &message, 0), 1);
  memset(&control, 0, sizeof control);
  equal(sys(recvmsg, pair[1], &message, MSG_CMSG_CLOEXEC), 1);
  memcpy(&got, CMSG_DATA(&control.head), sizeof got);
  equal(tool(sys(fcntl, got, F_GETFD)), FD_CLOEXEC);
  equal(pread(got, text, sizeof text, 0), 11);
}

static void tells_peer(void) {
  int pair[2];
  struct {
    pid_t process;
    uid_t user;
    gid_t group;
  } peer = {0};
  socklen_t size = sizeof peer;
  work(sys(socketpair, AF_UNIX, SOCK_STREAM, 0, pair));
  work(sys(getsockopt, pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &size));
  equal(peer.process, getpid());
  equal(peer.user, geteuid());
}

static void tells_peer_held(void) {
  int pair[2], held = -1;
  socklen_t size = sizeof held;
  work(sys(socketpair, AF_UNIX, SOCK_STREAM, 0, pair));
  work(sys(getsockopt, pair[0], SOL_SOCKET, 77, &held, &size)); // SO_PEERPIDFD
  tool(sys(pidfd_send_signal, held, 0, NULL, 0));
}

static void low_ports(void) {
  long first = 1024;
  setting("/proc/sys/net/ipv4/ip_unprivileged_port_start", &first);
  if (first <= 1) skip("net.ipv4.ip_unprivileged_port_start is %ld", first);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int end = (int)work(sys(socket, AF_INET, SOCK_DGRAM, 0));
  refuse(EACCES, sys(bind, end, &at, sizeof at));
}

static const struct check socket_checks[] = {
    {.what = "SOCK_CLOEXEC and SOCK_NONBLOCK hold", .run = socket_flags, .config = "CONFIG_UNIX"},
    {.what = "SCM_RIGHTS hands over a descriptor", .run = sends_descriptors, .config = "CONFIG_UNIX"},
    {.what = "SO_PEERCRED tells who is there", .run = tells_peer, .config = "CONFIG_UNIX"},
    {.what = "SO_PEERPIDFD holds who is there", .run = tells_peer_held, .since = KERNEL(6, 5), .config = "CONFIG_UNIX"},
    {.what = "nobody takes a low port", .run = low_ports, .who = NOBODY, .config = "CONFIG_INET"},
    {GIVES("an unknown family", EAFNOSUPPORT, socket, 99, SOCK_STREAM, 0)},
    {GIVES("an unknown kind", EINVAL, socket, AF_UNIX, 99, 0)},
    {GIVES("a family's wrong protocol", EPROTONOSUPPORT, socket, AF_UNIX, SOCK_STREAM, 99), .config = "CONFIG_UNIX"},
    {GIVES("nobody makes raw sockets", EPERM, socket, AF_INET, SOCK_RAW, IPPROTO_RAW), .who = NOBODY, .config = "CONFIG_INET"},
    {GIVES("nobody reads packets", EPERM, socket, AF_PACKET, SOCK_RAW, 0), .who = NOBODY, .config = "CONFIG_PACKET"},
};

static int listening(struct sockaddr_un *at, socklen_t *size) {
  memset(at, 0, sizeof *at);
  at->sun_family = AF_UNIX;
  *size = sizeof(sa_family_t) + 1 + (socklen_t)snprintf(at->sun_path + 1, 64, "lisa-syscalls-%d", getpid()); // no file
  int end = (int)tool(sys(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  work(sys(bind, end, at, *size));
  work(sys(listen, end, 4));
  return end;
}

static void accepts(void) {
  struct sockaddr_un at;
  socklen_t size;
  int server = listening(&at, &size);
  refuse(EAGAIN, sys(accept4, server, NULL, NULL, 0));
  int client = (int)tool(sys(socket, AF_UNIX, SOCK_STREAM, 0));
  work(sys(connect, client, &at, size));
  int end = (int)work(sys(accept4, server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
  equal(tool(sys(fcntl, end, F_GETFD)), FD_CLOEXEC);
  equal(tool(sys(fcntl, end, F_GETFL)) & O_NONBLOCK, O_NONBLOCK);
  refuse(EINVAL, sys(accept4, server, NULL, NULL, 1));
  refuse(EINVAL, sys(accept4, client, NULL, NULL, 0)); // it does not listen
  refuse(EADDRINUSE, sys(bind, (int)tool(sys(socket, AF_UNIX, SOCK_STREAM, 0)), &at, size));
  refuse(EISCONN, sys(connect, client, &at, size));
}

static void connection_refused(void) {
  struct sockaddr_un at;
  socklen_t size;
  close(listening(&at, &size));
  refuse(ECONNREFUSED, sys(connect, (int)tool(sys(socket, AF_UNIX, SOCK_STREAM, 0)), &at, size));
}

static void accept_of_a_file(void) {
  refuse(ENOTSOCK, sys(accept4, memory_file(""), NULL, NULL, 0));
}

static const struct check accept_checks[] = {
    {.what = "accepts with flags of its own", .run = accepts, .config = "CONFIG_UNIX"},
    {.what = "nobody listens there any more", .run = connection_refused, .config = "CONFIG_UNIX"},
    {.what = "no socket", .run = accept_of_a_file},
    {GIVES("no descriptor", EBADF, accept4, -1, 0, 0, 0)},
};

static void sends_many(void) {
  int pair[2];
  char one[4], two[4];
  struct iovec parts[2] = {{(char *)"ab", 2}, {(char *)"cde", 3}}, rooms[2] = {{one, 4}, {two, 4}};
  struct mmsghdr out[2] = {{.msg_hdr = {.msg_iov = &parts[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &parts[1], .msg_iovlen = 1}}};
  struct mmsghdr in[2] = {{.msg_hdr = {.msg_iov = &rooms[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &rooms[1], .msg_iovlen = 1}}};
  struct timespec bad = {.tv_nsec = -1};
  work(sys(socketpair, AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
  equal(sys(sendmmsg, pair[0], out, 2, 0), 2);
  equal(sys(recvmmsg, pair[1], in, 2, 0, NULL), 2);
  equal(in[0].msg_len, 2);
  equal(in[1].msg_len, 3);
  refuse(EAGAIN, sys(recvmmsg, pair[1], in, 2, 0, NULL));
  refuse(EINVAL, sys(recvmmsg, pair[1], in, 2, 0, &bad));
}

static const struct check recvmmsg_checks[] = {{.what = "many at once; none; a bad time", .run = sends_many, .config = "CONFIG_UNIX"}};

// ---- queues and System V IPC ---------------------------------------------------------------------------------------

static char queue[32];

static void queue_orders(void) {
  struct mq_attr room = {.mq_maxmsg = 2, .mq_msgsize = 8};
  char got[8] = "";
  unsigned priority = 0;
  snprintf(queue, sizeof queue, "lisa-syscalls-%d", getpid());
  int end = (int)work(sys(mq_open, queue, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &room));
  refuse(EEXIST, sys(mq_open, queue, O_CREAT | O_EXCL | O_RDWR, 0600, &room));
  work(sys(mq_unlink, queue));
  work(sys(mq_timedsend, end, "low", 3, 1, NULL));
  work(sys(mq_timedsend, end, "high", 4, 9, NULL));
  refuse(EAGAIN, sys(mq_timedsend, end, "x", 1, 1, NULL)); // it is full
  refuse(EMSGSIZE, sys(mq_timedsend, end, "123456789", 9, 1, NULL));
  refuse(EMSGSIZE, sys(mq_timedreceive, end, got, 4, &priority, NULL));
  equal(sys(mq_timedreceive, end, got, sizeof got, &priority, NULL), 4);
  equal(priority, 9);
  refuse(ENOENT, sys(mq_unlink, queue));
}

static const struct check queue_checks[] = {
    {.what = "keeps to priorities and to its room", .run = queue_orders},
    {GIVES("no such queue", ENOENT, mq_open, "lisa-syscalls-none", O_RDONLY, 0, 0)},
    {GIVES("a name with a slash", EACCES, mq_open, "/lisa-syscalls", O_CREAT | O_RDWR, 0600, 0), .other_error = EINVAL},
    {GIVES("no descriptor", EBADF, mq_timedsend, -1, "x", 1, 0, 0)},
};

static void memory_shared(void) {
  long id = work(sys(shmget, IPC_PRIVATE, PAGE, 0600 | IPC_CREAT));
  char *memory = (char *)sys(shmat, id, NULL, 0);
  long removed = sys(shmctl, id, IPC_RMID, NULL); // it lives on until nobody uses it
  work(removed);
  work((long)memory < 0 && (long)memory > -4096 ? (long)memory : 0);
  pid_t process = child();
  if (process == 0) {
    memory[0] = 'x';
    _exit(0);
  }
  reap(process);
  equal(memory[0], 'x');
  work(sys(shmdt, memory));
  refuse(EINVAL, sys(shmdt, memory));
}

static void messages_and_semaphores(void) {
  struct {
    long kind;
    char text[4];
  } message = {5, "abc"};
  long queue_id = work(sys(msgget, IPC_PRIVATE, 0600 | IPC_CREAT));
  long sent = sys(msgsnd, queue_id, &message, 4, IPC_NOWAIT), none = sys(msgrcv, queue_id, &message, 4, 6, IPC_NOWAIT),
       short_room = sys(msgrcv, queue_id, &message, 1, 5, IPC_NOWAIT), got = sys(msgrcv, queue_id, &message, 4, 5, IPC_NOWAIT);
  work(sys(msgctl, queue_id, IPC_RMID, NULL));
  work(sent);
  refuse(ENOMSG, none);
  refuse(E2BIG, short_room);
  equal(got, 4);
  refuse_by(EINVAL, EIDRM, sys(msgsnd, queue_id, &message, 4, IPC_NOWAIT));
  long set = work(sys(semget, IPC_PRIVATE, 1, 0600 | IPC_CREAT));
  struct {
    unsigned short number;
    short change, flags;
  } take = {0, -1, IPC_NOWAIT};
  long taken = sys(semop, set, &take, 1);
  take.number = 9;
  long outside = sys(semop, set, &take, 1);
  work(sys(semctl, set, 0, IPC_RMID, 0));
  refuse(EAGAIN, taken);
  refuse(EFBIG, outside);
}

static const struct check sysv_checks[] = {
    {.what = "shared memory outlives its name", .run = memory_shared},
    {.what = "messages by kind, semaphores that are zero", .run = messages_and_semaphores},
    {GIVES("no such segment", ENOENT, shmget, 0x7a5c1234, 4096, 0)},
    {GIVES("a segment of no size", EINVAL, shmget, IPC_PRIVATE, 0, 0600 | IPC_CREAT)},
    {GIVES("no such queue", ENOENT, msgget, 0x7a5c1234, 0)},
    {GIVES("too many semaphores", EINVAL, semget, IPC_PRIVATE, 1 << 30, 0600 | IPC_CREAT)},
};

// ---- signals -------------------------------------------------------------------------------------------------------

static void queued_signal(void) {
  uint64_t mask = 1ULL << (SIGUSR1 - 1);
  struct timespec soon = {.tv_nsec = 1000000};
  siginfo_t facts;
  memset(&facts, 0, sizeof facts);
  facts.si_code = SI_QUEUE;
  facts.si_value.sival_int = 42;
  work(sys(rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8));
  work(sys(rt_sigqueueinfo, getpid(), SIGUSR1, &facts));
  equal(sys(rt_sigtimedwait, &mask, &facts, &soon, 8), SIGUSR1);
  equal(facts.si_value.sival_int, 42);
  refuse(EAGAIN, sys(rt_sigtimedwait, &mask, &facts, &soon, 8));
  pid_t process = child();
  if (process == 0)
    for (;;) pause();
  facts.si_code = SI_USER; // a sender that is not us
  refuse(EPERM, sys(rt_sigqueueinfo, process, SIGUSR1, &facts));
  let_go(process);
}

static const struct check signal_checks[] = {
    {.what = "a queued signal brings its value, a forged one is refused", .run = queued_signal},
    {GIVES("an unknown signal", EINVAL, kill, 0, 99)},
    {GIVES("no such process", ESRCH, kill, 0x7ffffff0, 0)},
    {GIVES("a handler for SIGKILL", EINVAL, rt_sigaction, SIGKILL, buffer, 0, 8)},
    {GIVES("a mask of the wrong size", EINVAL, rt_sigprocmask, SIG_BLOCK, buffer, 0, 4)},
    {GIVES("a thread of another process", ESRCH, tgkill, 1, 0x7ffffff0, 0)},
    {GIVES("no thread", EINVAL, tgkill, -1, -1, 0)},
    {GIVES("nobody signals process 1", EPERM, kill, 1, 0), .who = NOBODY},
};

static const long no_signal[] = {0x7ffffff0, 0, 0, 0, 0, 0}; // kill(-1, ...) means everybody
static const long no_segment[] = {0x7a5c1234, 4096, 0, 0, 0, 0};

static const struct test_case cases[] = {
    {.id = "socket", .manual = "socket(2), unix(7)", .number = NR_socket, .config = "CONFIG_NET", CHECKS(socket_checks)},
    {.id = "accept4", .manual = "accept4(2)", .number = NR_accept4, .config = "CONFIG_NET", CHECKS(accept_checks)},
    {.id = "recvmmsg", .manual = "recvmmsg(2), sendmmsg(2)", .number = NR_recvmmsg, .config = "CONFIG_NET", CHECKS(recvmmsg_checks)},
    {.id = "mq_open", .manual = "mq_overview(7)", .number = NR_mq_open, .config = "CONFIG_POSIX_MQUEUE", CHECKS(queue_checks)},
    {.id = "shmget", .manual = "sysvipc(7)", .number = NR_shmget, .config = "CONFIG_SYSVIPC", .probe = no_segment, CHECKS(sysv_checks)},
    {.id = "kill", .manual = "kill(2), rt_sigqueueinfo(2)", .number = NR_kill, .probe = no_signal, CHECKS(signal_checks)},
};
const struct chapter ipc = {cases, COUNT(cases)};
