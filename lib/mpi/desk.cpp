// SPDX-License-Identifier: Apache-2.0
#include "mpi/desk.hpp"

#include <chrono>
#include <cstdio>
#include <exception>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "mpi/session.hpp"

namespace tetrarch::mpi {
namespace {

constexpr int question_tag = 1, reply_tag = 2;
// Time between two looks for questions; this costs 2 % of a core. The delay of an answer does not
// matter: instances ask for a microbatch one ahead.
constexpr auto pause = std::chrono::milliseconds(1);

/// The message to the rank that asked.
struct Reply {
  std::int64_t answer = 0;
  char failure[248] = {};  // why there is no answer, ends with a zero byte; empty: there is one
};

Communicator duplicate(const Communicator& communicator) {
  MPI_Comm comm = MPI_COMM_NULL;
  const base::Operation running(communicator.group(), {"duplicate"});
  check(MPI_Comm_dup(communicator.get(), &comm), "MPI_Comm_dup");
  return Communicator(comm, "desk");
}

void check_threads(const Communicator& communicator) {
  if (communicator.min(std::int64_t{Session::has_threads()}) != 0) return;
  throw base::Refusal(
      base::ExitCode::communication,
      "this MPI has no MPI_THREAD_MULTIPLE (a thread on rank 0 hands out microbatches while rank 0 "
      "computes). Use an MPI library built with threads, or one instance (--dp 1).");
}

}  // namespace

Desk::Desk(const Communicator& communicator, Answer answer)
    : communicator_(duplicate(communicator)),
      answer_(std::move(answer)),
      exceptions_at_start_(std::uncaught_exceptions()) {
  if (communicator_.size() == 1) return;
  check_threads(communicator_);
  if (communicator_.rank() == 0) thread_ = std::thread([this] { serve(); });
}

Desk::~Desk() {
  // An error here means that a rank is lost. It is not reported here: the next MPI call reports it.
  if (std::uncaught_exceptions() == exceptions_at_start_) {
    const base::Operation running(communicator_.group(), {"barrier"});
    MPI_Barrier(communicator_.get());
  }
  is_closed_ = true;
  if (thread_.joinable()) thread_.join();
}

std::int64_t Desk::ask() const {
  const std::lock_guard lock(mutex_);
  if (communicator_.rank() == 0) return answer_(0);
  Reply reply;
  {
    const base::Operation running(communicator_.group(),
                                  {"ask", base::OperationKind::message, 0, 0});
    check(MPI_Send(nullptr, 0, MPI_BYTE, 0, question_tag, communicator_.get()), "MPI_Send");
  }
  communicator_.receive(std::as_writable_bytes(std::span(&reply, 1)), 0, reply_tag);
  if (reply.failure[0] == 0) return reply.answer;
  throw base::SystemError(
      base::ExitCode::communication,
      fmt::format("rank 0 could not answer this rank's request ({}).", reply.failure));
}

void Desk::serve() {
  try {
    while (!is_closed_)
      if (!serve_one()) std::this_thread::sleep_for(pause);
  } catch (const base::SystemError& error) {  // the catch in main() does not cover this thread
    std::fprintf(stderr, "tetrarch: [rank 0] %s\n", error.what());
    Session::abort(static_cast<int>(base::ExitCode::communication));
  }
}

/// Answers one question if one has arrived; returns false if none has.
bool Desk::serve_one() {
  int flag = 0;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  check(MPI_Improbe(MPI_ANY_SOURCE, question_tag, communicator_.get(), &flag, &message, &status),
        "MPI_Improbe");
  if (flag == 0) return false;
  check(MPI_Mrecv(nullptr, 0, MPI_BYTE, &message, MPI_STATUS_IGNORE), "MPI_Mrecv");
  Reply reply;
  try {
    const std::lock_guard lock(mutex_);
    reply.answer = answer_(status.MPI_SOURCE);
  } catch (const std::exception& error) {
    fmt::format_to_n(reply.failure, std::size(reply.failure) - 1, "failed: {}", error.what());
  }
  // not by communicator_.send(): that writes to the flight recorder, which only the main thread may
  check(
      MPI_Send(&reply, sizeof(reply), MPI_BYTE, status.MPI_SOURCE, reply_tag, communicator_.get()),
      "MPI_Send");
  return true;
}

}  // namespace tetrarch::mpi
