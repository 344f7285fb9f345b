// The `device` of a command: as a config says it, or as a flag does.
#pragma once

#include "engine/config.h"
#include "engine/runtime/runtime.h"

namespace memengine {

// Input error for a GPU that is not there.
inline Device device_of(DeviceChoice choice) {
  switch (choice) {
    case DeviceChoice::cpu:
      return Device::cpu;
    case DeviceChoice::cuda:
      return choose_device("cuda");
    case DeviceChoice::automatic:
      break;
  }
  return choose_device("auto");
}

}  // namespace memengine
