# Words about accelerators. After words.sh.

pci_of() { # gpu | fpga: the PCI addresses, those of emulated screens left out
  for device in /sys/bus/pci/devices/*; do
    [ -r "$device/class" ] || continue
    read -r class <"$device/class"
    read -r vendor <"$device/vendor"
    case $1:$class:$vendor in
    gpu:0x0300*:0x1234 | gpu:0x0300*:0x1af4 | gpu:0x0380*:0x1af4 | gpu:0x0300*:0x1013 | gpu:*:0x15ad | gpu:*:0x1414 | gpu:*:0x1b36) ;;
    gpu:0x0300*:0x1a03 | gpu:0x0300*:0x102b) ;; # the screens of management controllers
    gpu:0x0300* | gpu:0x0302* | gpu:0x0380*) echo "${device##*/}" ;;
    gpu:0x1200*:0x10de | gpu:0x1200*:0x1002 | gpu:0x1200*:0x1da3) echo "${device##*/}" ;;
    fpga:0x1200*:0x10ee | fpga:0x1200*:0x8086 | fpga:0x1200*:0x1172 | fpga:0x0580*:0x10ee) echo "${device##*/}" ;;
    esac
  done
}

driver_of() { # PCI address: the driver's name, '' where there is none
  [ -e "/sys/bus/pci/devices/$1/driver" ] || return 0
  (cd -P "/sys/bus/pci/devices/$1/driver" && basename "$(pwd -P)")
}

vendor_tool() { # the program that tells of these GPUs
  for tool in nvidia-smi rocm-smi amd-smi xpu-smi hl-smi; do
    ! command -v "$tool" >/dev/null 2>&1 || { echo "$tool"; return; }
  done
}
